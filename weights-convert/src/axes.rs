//! The order of a tensor's axes in a file, and the way to ours.

/// The order of a kernel's axes in a file. H and W are the kernel's height and width, I and O the input and output
/// channels, C and M a depthwise kernel's channels and their multiplier, which is always 1 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisOrder {
    /// Our own order: kernels are O I H W. Vectors have this order too.
    Same,
    /// TensorFlow's dense kernels: H W I O.
    Hwio,
    /// TensorFlow's depthwise kernels: H W C M.
    Hwcm,
    /// TFLite's dense kernels: O H W I.
    Ohwi,
    /// TFLite's depthwise kernels: M H W C.
    Mhwc,
}

impl AxisOrder {
    /// For each of our axes (O I H W; C M H W when depthwise), the axis of the file that it comes from.
    fn axes(self) -> [usize; 4] {
        match self {
            Self::Same => [0, 1, 2, 3],
            Self::Hwio => [3, 2, 0, 1],
            Self::Hwcm => [2, 3, 0, 1],
            Self::Ohwi => [0, 3, 1, 2],
            Self::Mhwc => [3, 0, 1, 2],
        }
    }

    /// The shape that a tensor of our `shape` has in the file.
    pub fn source_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut source = shape.to_vec();
        if self != Self::Same && shape.len() == 4 {
            for (&extent, axis) in shape.iter().zip(self.axes()) {
                source[axis] = extent;
            }
        }
        source
    }

    /// The elements of `data`, which has [`source_shape`](Self::source_shape)`(shape)`, in our order.
    pub fn to_ours<T: Copy>(self, data: Vec<T>, shape: &[usize]) -> Vec<T> {
        let &[a, b, c, d] = shape else { return data };
        if self == Self::Same {
            return data;
        }
        let source = self.source_shape(shape);
        let strides = [source[1] * source[2] * source[3], source[2] * source[3], source[3], 1];
        let [sa, sb, sc, sd] = self.axes().map(|axis| strides[axis]);
        let mut ours = Vec::with_capacity(data.len());
        for i in 0..a {
            for j in 0..b {
                for k in 0..c {
                    ours.extend((0..d).map(|l| data[i * sa + j * sb + k * sc + l * sd]));
                }
            }
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::AxisOrder;

    /// Each element says where it stands with us, so that a wrong axis shows.
    fn element(o: usize, i: usize, h: usize, w: usize) -> usize {
        ((o * 10 + i) * 10 + h) * 10 + w
    }

    #[test]
    fn every_layout_comes_out_in_our_order() {
        let shape = [5, 4, 2, 3];
        let ours: Vec<usize> = indices(shape).map(|[o, i, h, w]| element(o, i, h, w)).collect();
        let hwio = indices([2, 3, 4, 5]).map(|[h, w, i, o]| element(o, i, h, w)).collect();
        let ohwi = indices([5, 2, 3, 4]).map(|[o, h, w, i]| element(o, i, h, w)).collect();
        assert_eq!(AxisOrder::Hwio.source_shape(&shape), [2, 3, 4, 5]);
        assert_eq!(AxisOrder::Hwio.to_ours(hwio, &shape), ours);
        assert_eq!(AxisOrder::Ohwi.source_shape(&shape), [5, 2, 3, 4]);
        assert_eq!(AxisOrder::Ohwi.to_ours(ohwi, &shape), ours);
        assert_eq!(AxisOrder::Same.to_ours(ours.clone(), &shape), ours);
    }

    #[test]
    fn depthwise_kernels_come_out_in_our_order() {
        let shape = [5, 1, 2, 3];
        let ours: Vec<usize> = indices(shape).map(|[c, m, h, w]| element(c, m, h, w)).collect();
        let hwcm = indices([2, 3, 5, 1]).map(|[h, w, c, m]| element(c, m, h, w)).collect();
        let mhwc = indices([1, 2, 3, 5]).map(|[m, h, w, c]| element(c, m, h, w)).collect();
        assert_eq!(AxisOrder::Hwcm.source_shape(&shape), [2, 3, 5, 1]);
        assert_eq!(AxisOrder::Hwcm.to_ours(hwcm, &shape), ours);
        assert_eq!(AxisOrder::Mhwc.source_shape(&shape), [1, 2, 3, 5]);
        assert_eq!(AxisOrder::Mhwc.to_ours(mhwc, &shape), ours);
    }

    fn indices([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
        (0..a * b * c * d).map(move |n| [n / (b * c * d), n / (c * d) % b, n / d % c, n % d])
    }
}
