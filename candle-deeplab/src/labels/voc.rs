//! PASCAL VOC 2012 (Everingham et al.), <http://host.robots.ox.ac.uk/pascal/VOC/voc2012/>.

/// The classes in the order of VOCdevkit's `VOCinit.m`, after the background.
pub(super) const NAMES: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// VOC's colour map for all 8-bit ids, by the rule of VOCdevkit's `VOClabelcolormap.m`: the id's bits, three at a time
/// from the lowest, become bits of red, green and blue from the highest down.
pub(super) fn color_map() -> [[u8; 3]; 256] {
    std::array::from_fn(|id| {
        let mut color = [0; 3];
        for (channel, value) in color.iter_mut().enumerate() {
            for place in 0..3 {
                let bit = (id >> (3 * place + channel)) & 1;
                *value |= (bit as u8) << (7 - place);
            }
        }
        color
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the map as VOC's documentation prints them.
    #[test]
    fn the_rule_gives_the_published_colours() {
        let map = color_map();
        assert_eq!(map[..5], [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]);
        assert_eq!(map[8], [64, 0, 0]);
        assert_eq!(map[15], [192, 128, 128]);
        assert_eq!(map[20], [0, 64, 128]);
        assert_eq!(map[64], [32, 0, 0]);
        assert_eq!(map[255], [224, 224, 192]);
    }
}
