use super::*;

/// Segments of a JPEG file: a marker and its content.
fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker][..], &length, content].concat()
}

/// A table with one code of one bit, 0, for each of the given symbols' tables: `kind` is its class and number.
fn table(kind: u8, symbols: [u8; 2]) -> Vec<u8> {
    // 0 and 10.
    segment(0xc4, &[&[kind, 1, 1][..], &[0; 14], &symbols].concat())
}

/// The frame of a grey picture.
fn frame(marker: u8, width: u16, height: u16) -> Vec<u8> {
    segment(marker, &[&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat())
}

fn scan(from: u8, to: u8, successive: u8, data: &[u8]) -> Vec<u8> {
    [segment(0xda, &[1, 1, 0, from, to, successive]), data.to_vec()].concat()
}

const START: &[u8] = &[0xff, 0xd8];
const END: &[u8] = &[0xff, 0xd9];

fn damage(parts: &[&[u8]]) -> Option<String> {
    check(&parts.concat(), u64::MAX).damage
}

/// Eight blocks in two bits each: a difference of 0, and nothing else.
#[test]
fn each_block_of_a_baseline_picture_is_looked_for() {
    let head = [START, &table(0, [0, 1]), &table(0x10, [0, 1]), &frame(0xc0, 64, 8)].concat();
    let of = |data: &[u8], end: &[u8]| damage(&[&head, &scan(0, 63, 0, data), end]);
    assert_eq!(of(&[0, 0], END), None);
    // Neither a missing end nor something behind it is damage.
    assert_eq!(of(&[0, 0], b""), None);
    assert_eq!(of(&[0, 0, 0, 0], b"trailing"), None);
    assert_eq!(of(&[0, 0], &[END, b"trailing"].concat()), None);
    assert_eq!(of(&[0], END).unwrap(), "its data end after 50 % of it");
    assert_eq!(of(&[], b"").unwrap(), "its data end after 0 % of it");
    // The code 11 is not in the tables.
    assert_eq!(of(&[0, 0xc0], END).unwrap(), "its data make no sense after 50 % of it");
}

#[test]
fn restarts_are_followed() {
    let interval = segment(0xdd, &[0, 4]);
    let head = [START, &table(0, [0, 1]), &table(0x10, [0, 1]), &frame(0xc0, 64, 8), &interval].concat();
    let of = |data: &[u8]| damage(&[&head, &scan(0, 63, 0, data), END]);
    assert_eq!(of(&[0, 0xff, 0xd0, 0]), None);
    assert_eq!(of(&[0, 0xff, 0xd0]).unwrap(), "its data end after 50 % of it");
    assert_eq!(of(&[0, 0]).unwrap(), "its data end after 50 % of it");
}

/// Every bit of each coefficient is waited for, unless the file says that it ends.
#[test]
fn scans_of_a_progressive_picture_are_counted() {
    // Runs of blocks without anything: 0x20 is 4 and two more bits.
    let head = [START, &table(0, [0, 1]), &table(0x10, [0x20, 0x11]), &frame(0xc2, 64, 8)].concat();
    let dc = scan(0, 0, 1, &[0]);
    let dc_refined = scan(0, 0, 0x10, &[0xaa]);
    // Four blocks at once, twice: 0 00, 0 00.
    let ac = scan(1, 63, 1, &[0]);
    let ac_refined = scan(1, 63, 0x10, &[0]);
    let all = [&dc[..], &ac, &dc_refined, &ac_refined];
    let of = |scans: &[&[u8]], end: &[u8]| damage(&[&head, &scans.concat(), end]);
    assert_eq!((of(&all, END), of(&all, b"")), (None, None));
    assert_eq!(of(&all[..3], END), None);
    assert!(of(&all[..3], b"").unwrap().contains("after 3 of its scans"));
    assert!(of(&[&dc, &ac[..ac.len() - 1]], b"").unwrap().contains("0 % of its scan 2"));
    assert!(of(&[&dc[..dc.len() - 1], &ac], END).unwrap().contains("0 % of its scan 1"));
    assert!(of(&[], END).unwrap().contains("0 of its scans"));
}

/// A coefficient that is not 0 has a bit in each later scan.
#[test]
fn refinements_depend_on_what_came_before() {
    let head = [START, &table(0, [0, 1]), &table(0x10, [0x00, 0x01]), &frame(0xc2, 8, 8)].concat();
    // 10 1: a 1 at the first place; 0: the end of the block.
    let known = scan(1, 63, 1, &[0b1010_0000]);
    // 0: the end of the block, and then a bit for what is known, which crosses no border of a byte.
    let dc = scan(0, 0, 0, &[0]);
    let whole = scan(1, 63, 0x10, &[0]);
    assert_eq!(damage(&[&head, &dc, &known, &whole, END]), None);
    let refined_by = |codes: &[u8], data: &[u8]| {
        let table = segment(0xc4, &[&[0x10, 1, 1][..], &[0; 14], codes].concat());
        damage(&[&head, &dc, &known, &table, &scan(1, 63, 0x10, data), END])
    };
    // 0x70: 128 blocks and 7 bits fill the byte, and no bit is left for what is known.
    assert!(refined_by(&[0x70, 0x01], &[0]).unwrap().contains("scan 3"));
    assert_eq!(refined_by(&[0x60, 0x01], &[0]), None);
}

#[test]
fn what_is_no_jpeg_is_left_to_the_decoder() {
    let cut = [START, &frame(0xc0, 64, 8)[..9]].concat();
    for bytes in [&b""[..], START, b"\x89PNG", &cut, &[0xff; 40], &[0xff, 0xd8, 0xff, 0xc4, 0, 0]] {
        assert_eq!(check(bytes, u64::MAX), Checked::default());
    }
    let huge = [START, &table(0, [0, 1]), &table(0x10, [0, 1]), &frame(0xc0, 1000, 1000)].concat();
    assert!(damage(&[&huge, &scan(0, 63, 0, &[0]), END]).is_some());
    assert_eq!(check(&[&huge, &scan(0, 63, 0, &[0])[..], END].concat(), 999_999), Checked::default());
}

/// Whatever is in a file, there is an answer.
#[test]
fn noise_is_answered() {
    let head = [START, &table(0, [0, 1]), &table(0x10, [0x20, 0x11]), &frame(0xc2, 640, 80)].concat();
    let file =
        [&head, &scan(0, 0, 1, &[7; 300])[..], &scan(1, 63, 1, &[9; 300]), &scan(1, 63, 0x10, &[5; 90])].concat();
    let mut state = 1_u32;
    for _ in 0..3000 {
        let mut noisy = file.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (state >> 16) as usize % noisy.len();
            noisy[place] = state as u8;
        }
        check(&noisy, 1 << 20);
    }
}
