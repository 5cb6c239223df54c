//! Matrix products, by the crate `gemm`, which takes any strides.

use gemm::Parallelism;

use super::simd::Float;

/// A matrix in a slice: element `(i, j)` lies at `i · row + j · column`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows of `columns` values that begin `pitch` values apart.
    ///
    /// # Panics
    /// Where the slice is too short.
    pub(super) fn new(values: &'a [T], rows: usize, columns: usize, pitch: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * pitch + columns <= values.len(),
            "a matrix beyond its values"
        );
        Self { values, rows, columns, row: pitch, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }
}

/// The result of a product: rows that begin `pitch` values apart, of which it owns the columns from `first`.
pub(super) struct MatrixMut<'a, T> {
    /// The first value of the first row.
    values: *mut T,
    rows: usize,
    columns: usize,
    pitch: usize,
    owner: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it is a unique borrow of its columns of each row, as a `&mut [T]` of each row would be.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// # Panics
    /// Where the slice is too short.
    pub(super) fn new(values: &'a mut [T], rows: usize, columns: usize) -> Self {
        assert!(rows * columns <= values.len(), "a matrix beyond its values");
        Self { values: values.as_mut_ptr(), rows, columns, pitch: columns, owner: std::marker::PhantomData }
    }

    /// Splits it into its first `columns` columns and the others.
    ///
    /// # Panics
    /// Where there are fewer.
    pub(super) fn split(self, columns: usize) -> (Self, Self) {
        assert!(columns <= self.columns, "more columns than there are");
        // No more than one past the end of the first row, and so within the slice or at its end.
        let rest = self.values.wrapping_add(columns);
        (Self { columns, ..self }, Self { values: rest, columns: self.columns - columns, ..self })
    }
}

/// `out ← a · b`, or `out + a · b` with `add`, in this thread alone: the callers divide the work.
///
/// # Panics
/// Where the sizes do not fit each other.
pub(super) fn multiply<T: Float>(out: &mut MatrixMut<'_, T>, a: Matrix<'_, T>, b: Matrix<'_, T>, add: bool) {
    assert!(out.rows == a.rows && out.columns == b.columns && a.columns == b.rows, "sizes of a matrix product");
    let strides = |m: &Matrix<'_, T>| (m.column as isize, m.row as isize);
    let ((a_column, a_row), (b_column, b_row)) = (strides(&a), strides(&b));
    // SAFETY: the constructors have compared the slices with the sizes and strides; `out` is uniquely borrowed, and
    // T is f32 or f64.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.values,
            1,
            out.pitch as isize,
            add,
            a.values.as_ptr(),
            a_column,
            a_row,
            b.values.as_ptr(),
            b_column,
            b_row,
            T::one(),
            T::one(),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
