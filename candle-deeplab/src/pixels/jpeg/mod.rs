//! Whether a JPEG file is whole (ITU-T T.81).
//!
//! The decoder paints over what is missing and says nothing, since browsers want that. So the compressed data are gone
//! through beforehand, without computing anything: a block that is not there ends it. It takes a fraction of the time that
//! decoding takes.

mod bits;
mod huffman;
mod scan;
#[cfg(test)]
mod tests;

use bits::{Bits, Stop};
use huffman::Table;
use scan::{Content, Part, Progress};

/// The decoder refuses files with more scans.
const MAX_SCANS: usize = 100;

/// What there is to know of a JPEG file before it is decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// What is missing.
    pub(super) damage: Option<String>,
    /// The bytes of coefficients that the decoder keeps until it has seen the last scan.
    pub(super) kept: u64,
}

/// Goes through a file. What is no JPEG, or of a kind that the decoder does not know, is left to it; so are pictures of more
/// than `most` pixels.
pub(super) fn check(bytes: &[u8], most: u64) -> Checked {
    let mut file = File { bytes, most, ..File::default() };
    let damage = file.walk();
    Checked { damage, kept: file.kept }
}

#[derive(Default)]
struct File<'a> {
    bytes: &'a [u8],
    at: usize,
    most: u64,
    frame: Option<Frame>,
    /// Tables of the first (DC) and of the other coefficients.
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    restart_interval: usize,
    scans: usize,
    kept: u64,
}

struct Frame {
    pixels: u64,
    is_progressive: bool,
    /// In a scan of several components.
    units: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks in a unit of a scan of several components.
    in_unit: usize,
    /// Blocks in a scan of its own.
    blocks: usize,
    /// A bit for each coefficient of a block that is not 0; made when needed.
    known: Vec<u64>,
    /// How many bits of each coefficient are still to come; 255 where nothing is known of it.
    to_come: [u8; 64],
}

/// The decoder says whatever has to be said.
struct NotForUs;

impl<'a> File<'a> {
    /// What is missing.
    fn walk(&mut self) -> Option<String> {
        loop {
            match self.marker() {
                // Start of the image, restarts and the like: they have no content.
                Some(0x01 | 0xd0..=0xd8) => {}
                Some(0xd9) => return self.missing(true),
                None => return self.missing(false),
                Some(marker) => {
                    let Some(content) = self.content() else { return self.missing(false) };
                    match self.segment(marker, content) {
                        Ok(None) => {}
                        Ok(damage) => return damage,
                        Err(NotForUs) => return None,
                    }
                }
            }
        }
    }

    /// Goes to the next marker, and behind it.
    fn marker(&mut self) -> Option<u8> {
        let at = Bits::new(self.bytes, self.at).marker();
        self.at = at + 2;
        self.bytes.get(at + 1).copied()
    }

    /// What belongs to a marker.
    fn content(&mut self) -> Option<&'a [u8]> {
        let length = self.bytes.get(self.at..)?.first_chunk::<2>()?;
        let end = self.at + usize::from(u16::from_be_bytes(*length)).max(2);
        let content = self.bytes.get(self.at + 2..end)?;
        self.at = end;
        Some(content)
    }

    /// Takes a segment; gives what is missing in its scan.
    fn segment(&mut self, marker: u8, content: &[u8]) -> Result<Option<String>, NotForUs> {
        match marker {
            0xc4 => self.tables(content).ok_or(NotForUs)?,
            0xc0..=0xc2 => {
                let frame = Frame::new(marker == 0xc2, content).filter(|frame| frame.pixels <= self.most);
                self.frame = Some(frame.ok_or(NotForUs)?);
            }
            // Lossless, hierarchical or arithmetic.
            0xc3 | 0xc5..=0xcf => return Err(NotForUs),
            0xdd => {
                let interval = content.first_chunk::<2>().ok_or(NotForUs)?;
                self.restart_interval = u16::from_be_bytes(*interval).into();
            }
            0xda => return self.scan(content),
            _ => {}
        }
        Ok(None)
    }

    fn tables(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let (symbols, rest) = rest.split_at_checked(counts.iter().map(|count| usize::from(*count)).sum())?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, symbols)?);
            content = rest;
        }
        Some(())
    }

    /// Goes through a scan; gives what is missing in it.
    fn scan(&mut self, header: &[u8]) -> Result<Option<String>, NotForUs> {
        self.scans += 1;
        let frame = self.frame.as_mut().filter(|_| self.scans <= MAX_SCANS).ok_or(NotForUs)?;
        let (count, rest) = header.split_first().ok_or(NotForUs)?;
        let (selected, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or(NotForUs)?;
        let [from, to, successive] = *rest.first_chunk::<3>().ok_or(NotForUs)?;
        let (high, low) = (successive >> 4, successive & 15);
        let content = match (frame.is_progressive, from, high) {
            (false, ..) => Content::Sequential,
            (true, 0, 0) => Content::DcFirst,
            (true, 0, _) => Content::DcRefined,
            (true, _, 0) => Content::AcFirst(from.into(), to.into()),
            (true, ..) => Content::AcRefined(from.into(), to.into()),
        };
        let (from, to) = if frame.is_progressive { (from, to) } else { (0, 63) };
        if from > to || to > 63 || frame.is_progressive && from == 0 && to > 0 {
            return Err(NotForUs);
        }
        let is_single = *count == 1;
        if frame.is_progressive || usize::from(*count) < frame.components.len() {
            self.kept = frame.components.iter().map(|component| 128 * component.in_all(frame.units) as u64).sum();
        }

        let (mut parts, mut units, mut known) = (vec![], frame.units, vec![]);
        for pair in selected.chunks_exact(2) {
            let (id, tables) = (pair[0], pair[1]);
            let component = frame.components.iter_mut().find(|component| component.id == id).ok_or(NotForUs)?;
            component.to_come[usize::from(from)..=usize::from(to)].fill(low);
            let (dc, ac) = (self.dc.get(usize::from(tables >> 4)), self.ac.get(usize::from(tables & 15)));
            let (dc, ac) = (dc.and_then(Option::as_ref), ac.and_then(Option::as_ref));
            let (needs_dc, needs_ac) = match content {
                Content::Sequential => (true, true),
                Content::DcFirst => (true, false),
                Content::DcRefined => (false, false),
                Content::AcFirst(..) | Content::AcRefined(..) => (false, true),
            };
            // Such files are frames of films, for which the decoder has tables of its own.
            if needs_dc && dc.is_none() || needs_ac && ac.is_none() {
                return Err(NotForUs);
            }
            if is_single {
                units = component.blocks;
                if matches!(content, Content::AcFirst(..) | Content::AcRefined(..)) {
                    known = std::mem::take(&mut component.known);
                    known.resize(units, 0);
                }
            }
            parts.push(Part { blocks: if is_single { 1 } else { component.in_unit }, dc, ac });
        }
        if parts.is_empty() {
            return Err(NotForUs);
        }
        let mut bits = Bits::new(self.bytes, self.at);
        let Progress { done, stop } = scan::walk(&mut bits, &parts, content, units, self.restart_interval, &mut known);
        self.at = bits.marker();
        let component = frame.components.iter_mut().find(|component| component.id == selected[0]);
        if let Some(component) = component.filter(|_| !known.is_empty()) {
            component.known = known;
        }
        let percent = 100 * done as u64 / units.max(1) as u64;
        let of = match self.kept {
            0 => "it".to_owned(),
            _ => format!("its scan {}", self.scans),
        };
        Ok(stop.map(|stop| match stop {
            Stop::Exhausted => format!("its data end after {percent} % of {of}"),
            Stop::BadCode => format!("its data make no sense after {percent} % of {of}"),
        }))
    }

    /// What is missing where all scans that there are are whole.
    fn missing(&self, says_that_it_ends: bool) -> Option<String> {
        let Frame { is_progressive, components, .. } = self.frame.as_ref()?;
        let is_missing = |component: &Component| {
            let has_none = component.to_come[0] == 255;
            // An encoder may leave the finest details out, but then it says that the image ends.
            has_none || *is_progressive && !says_that_it_ends && component.to_come.iter().any(|bits| *bits > 0)
        };
        let scans = self.scans;
        components
            .iter()
            .any(is_missing)
            .then(|| format!("its data end after {scans} of its scans, and more are needed"))
    }
}

impl Frame {
    fn new(is_progressive: bool, content: &[u8]) -> Option<Self> {
        let (&[8, h1, h0, w1, w0, count], rest) = content.split_first_chunk::<6>()? else { return None };
        let [height, width] = [[h1, h0], [w1, w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        let fields = rest.get(..3 * usize::from(count))?.chunks_exact(3);
        let sampled = || fields.clone().map(|field| (field[0], usize::from(field[1] >> 4), usize::from(field[1] & 15)));
        let (across, down) = sampled().fold((0, 0), |(across, down), (_, h, v)| (across.max(h), down.max(v)));
        // A height of 0 is told behind the first scan, which the decoder does not know.
        if height == 0
            || width == 0
            || count == 0
            || sampled().any(|(_, h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v))
        {
            return None;
        }
        let blocks = |side: usize, factor: usize, most: usize| (side * factor).div_ceil(most).div_ceil(8);
        let component = |(id, h, v): (u8, usize, usize)| Component {
            id,
            in_unit: h * v,
            blocks: blocks(width, h, across) * blocks(height, v, down),
            known: vec![],
            to_come: [255; 64],
        };
        let units = width.div_ceil(8 * across) * height.div_ceil(8 * down);
        let pixels = width as u64 * height as u64;
        Some(Self { pixels, is_progressive, units, components: sampled().map(component).collect() })
    }
}

impl Component {
    /// Its blocks, with those that fill the last units up.
    fn in_all(&self, units: usize) -> usize {
        self.in_unit * units
    }
}
