//! One pass over a picture's blocks of 8×8 samples (ITU-T T.81, annexes F and G). Nothing is computed of them: what matters
//! is whether they are there.

use super::bits::{Bits, Stop};
use super::huffman::Table;

/// A component as a scan sees it.
pub(super) struct Part<'a> {
    /// Its blocks in each unit of a scan of several components.
    pub(super) blocks: usize,
    pub(super) dc: Option<&'a Table>,
    pub(super) ac: Option<&'a Table>,
}

/// What a scan holds of each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Sequential,
    DcFirst,
    DcRefined,
    /// Coefficients from one to another.
    AcFirst(u32, u32),
    AcRefined(u32, u32),
}

/// How far a scan went, in its units.
pub(super) struct Progress {
    pub(super) done: usize,
    /// Why no further; `None` where it is whole.
    pub(super) stop: Option<Stop>,
}

/// Goes through a scan of `units`. `known` has a bit for each coefficient of a block that is not 0; only scans of
/// coefficients other than the first (DC) one need it, which are of one component.
pub(super) fn walk(
    bits: &mut Bits,
    parts: &[Part],
    content: Content,
    units: usize,
    restart_interval: usize,
    known: &mut [u64],
) -> Progress {
    let (mut done, mut run) = (0, 0_u32);
    while done < units {
        if restart_interval > 0 && done > 0 && done % restart_interval == 0 {
            if let Err(stop) = bits.restart() {
                return Progress { done, stop: Some(stop) };
            }
            run = 0;
        }
        if let Err(stop) = unit(bits, parts, content, known.get_mut(done), &mut run) {
            return Progress { done, stop: Some(stop) };
        }
        done += 1;
    }
    Progress { done, stop: None }
}

fn unit(bits: &mut Bits, parts: &[Part], content: Content, known: Option<&mut u64>, run: &mut u32) -> Result<(), Stop> {
    match (content, known, parts) {
        (Content::AcFirst(from, to), Some(known), [part]) => {
            ac_first(bits, part.ac.ok_or(Stop::BadCode)?, from, to, known, run)
        }
        (Content::AcRefined(from, to), Some(known), [part]) => {
            ac_refined(bits, part.ac.ok_or(Stop::BadCode)?, from, to, known, run)
        }
        (Content::AcFirst(..) | Content::AcRefined(..), ..) => Err(Stop::BadCode),
        (Content::DcRefined, ..) => (0..parts.iter().map(|part| part.blocks).sum()).try_for_each(|_| bits.skip(1)),
        (Content::Sequential | Content::DcFirst, ..) => {
            for part in parts {
                let dc = part.dc.ok_or(Stop::BadCode)?;
                for _ in 0..part.blocks {
                    let length = dc.symbol(bits)?;
                    value(bits, length)?;
                    if content == Content::Sequential {
                        sequential(bits, part.ac.ok_or(Stop::BadCode)?)?;
                    }
                }
            }
            Ok(())
        }
    }
}

/// The bits of a value whose length a symbol has told.
#[inline]
fn value(bits: &mut Bits, length: u8) -> Result<(), Stop> {
    if length > 16 {
        return Err(Stop::BadCode);
    }
    bits.skip(length.into())
}

fn sequential(bits: &mut Bits, ac: &Table) -> Result<(), Stop> {
    let mut place = 1;
    while place < 64 {
        match ac.symbol(bits)? {
            0xf0 => place += 16,
            symbol if symbol & 15 == 0 => return Ok(()),
            symbol => {
                place += u32::from(symbol >> 4) + 1;
                bits.skip(u32::from(symbol & 15))?;
            }
        }
    }
    Ok(())
}

fn ac_first(bits: &mut Bits, ac: &Table, from: u32, to: u32, known: &mut u64, run: &mut u32) -> Result<(), Stop> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut place = from;
    while place <= to {
        let symbol = ac.symbol(bits)?;
        match (symbol >> 4, symbol & 15) {
            (15, 0) => place += 16,
            (length, 0) => {
                *run = (1 << length) - 1 + bits.take(length.into())?;
                return Ok(());
            }
            (zeros, length) => {
                place += u32::from(zeros);
                *known |= 1 << (place & 63);
                bits.skip(length.into())?;
                place += 1;
            }
        }
    }
    Ok(())
}

fn ac_refined(bits: &mut Bits, ac: &Table, from: u32, to: u32, known: &mut u64, run: &mut u32) -> Result<(), Stop> {
    let mut place = from;
    if *run == 0 {
        while place <= to {
            let symbol = ac.symbol(bits)?;
            let (mut zeros, is_new) = (symbol >> 4, symbol & 15 != 0);
            if is_new {
                // Its sign.
                bits.skip(1)?;
            } else if zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros.into())?;
                break;
            }
            while place <= to {
                if *known >> place & 1 == 1 {
                    bits.skip(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                place += 1;
            }
            if is_new && place <= to {
                *known |= 1 << place;
            }
            place += 1;
        }
    }
    if *run > 0 {
        for place in place..=to {
            if *known >> place & 1 == 1 {
                bits.skip(1)?;
            }
        }
        *run -= 1;
    }
    Ok(())
}
