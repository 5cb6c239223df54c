// cuBLASLt for a CUDA that is the CPU, as far as the fused executor uses it: D = epilogue(op(A) · B + beta · C) with
// op(A) = Aᵀ, where every matrix lies column by column. It refuses what the real one refuses. Sums are f32.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "stream.h"

enum Status { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type { R_32F = 0, R_16F = 2, R_16BF = 14 };
enum Compute { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };
enum Epilogue { DEFAULT = 1, RELU = 2, BIAS = 4, RELU_BIAS = 6 };
enum DescriptionAttribute { TRANSA = 3, EPILOGUE = 7, BIAS_POINTER = 8 };
enum PreferenceAttribute { MAX_WORKSPACE_BYTES = 1, MIN_ALIGNMENT_A = 5, MIN_ALIGNMENT_D = 8 };

struct Description {
    int transposed, epilogue;
    const void* bias;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t pitch;

    size_t size() const { return type == R_32F ? 4 : 2; }
    size_t bytes() const { return ((columns - 1) * pitch + rows) * size(); }
};

struct Preference {
    size_t workspace = 0;
    uint32_t alignments[4] = {256, 256, 256, 256};
};

struct Algorithm {
    uint64_t data[8];
};

struct Chosen {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

static float read(const Layout& of, const void* data, size_t at) {
    if (of.type == R_32F) return ((const float*)data)[at];
    if (of.type == R_16F) return (float)((const _Float16*)data)[at];
    const uint32_t bits = (uint32_t)((const uint16_t*)data)[at] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void write(const Layout& of, void* data, size_t at, float value) {
    if (of.type == R_32F) {
        ((float*)data)[at] = value;
    } else if (of.type == R_16F) {
        ((_Float16*)data)[at] = (_Float16)value;
    } else {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        // To the nearest, ties to even; NaN stays NaN.
        const uint32_t rounded = value != value ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
        ((uint16_t*)data)[at] = rounded >> 16;
    }
}

// Whether the shapes fit each other.
static bool fit(const Description& of, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    const bool inner = of.transposed == 1 && a.rows == b.rows && a.columns == d.rows && b.columns == d.columns;
    const bool outer = c.rows == d.rows && c.columns == d.columns && c.type == d.type && a.type == b.type;
    const bool types = d.type == a.type || d.type == R_32F;
    for (const Layout* layout : {&a, &b, &c, &d}) {
        if (layout->rows == 0 || layout->columns == 0 || layout->pitch < (int64_t)layout->rows) return false;
    }
    return inner && outer && types;
}

// Columns of the result at once, and rows: what the registers hold.
constexpr size_t COLUMNS = 4, ROWS = 64;

static void multiply(
    const Description& of, const void* a, const Layout& la, const void* b, const Layout& lb, float beta, const void* c,
    const Layout& lc, void* d, const Layout& ld
) {
    const size_t inner = la.rows;
    // A's columns side by side, with zeros behind the last.
    std::vector<float> packed(inner * ROWS), column(inner * COLUMNS);
    for (size_t row = 0; row < ld.rows; row += ROWS) {
        const size_t rows = std::min(ROWS, (size_t)ld.rows - row);
        std::fill(packed.begin(), packed.end(), 0.0f);
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < inner; k++) packed[k * ROWS + r] = read(la, a, (row + r) * la.pitch + k);
        for (size_t first = 0; first < ld.columns; first += COLUMNS) {
            const size_t columns = std::min(COLUMNS, (size_t)ld.columns - first);
            std::fill(column.begin(), column.end(), 0.0f);
            for (size_t n = 0; n < columns; n++)
                for (size_t k = 0; k < inner; k++) column[k * COLUMNS + n] = read(lb, b, (first + n) * lb.pitch + k);
            float sums[COLUMNS][ROWS] = {};
            for (size_t k = 0; k < inner; k++)
                for (size_t n = 0; n < COLUMNS; n++)
                    for (size_t r = 0; r < ROWS; r++) sums[n][r] += packed[k * ROWS + r] * column[k * COLUMNS + n];
            for (size_t n = 0; n < columns; n++)
                for (size_t r = 0; r < rows; r++) {
                    float value = sums[n][r];
                    if (beta != 0.0f) value += beta * read(lc, c, (first + n) * lc.pitch + row + r);
                    if (of.epilogue & BIAS) value += read(ld, of.bias, row + r);
                    if (of.epilogue & RELU) value = value < 0.0f ? 0.0f : value;
                    write(ld, d, (first + n) * ld.pitch + row + r, value);
                }
        }
    }
}

extern "C" {

int cublasLtCreate(void** handle) { return *handle = (void*)0x50, SUCCESS; }

int cublasLtMatmulDescCreate(Description** description, int compute, int scale) {
    if ((compute != COMPUTE_32F && compute != COMPUTE_32F_FAST_TF32) || scale != R_32F) return INVALID_VALUE;
    *description = new Description{0, DEFAULT, nullptr};
    return SUCCESS;
}

int cublasLtMatmulDescSetAttribute(Description* description, int attribute, const void* value, size_t bytes) {
    if (attribute == TRANSA && bytes == 4) return memcpy(&description->transposed, value, 4), SUCCESS;
    if (attribute == EPILOGUE && bytes == 4) return memcpy(&description->epilogue, value, 4), SUCCESS;
    if (attribute == BIAS_POINTER && bytes == 8) return memcpy(&description->bias, value, 8), SUCCESS;
    return INVALID_VALUE;
}

int cublasLtMatmulDescDestroy(Description* description) { return delete description, SUCCESS; }

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t pitch) {
    if (type != R_32F && type != R_16F && type != R_16BF) return INVALID_VALUE;
    *layout = new Layout{type, rows, columns, pitch};
    return SUCCESS;
}

int cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, SUCCESS; }

int cublasLtMatmulPreferenceCreate(Preference** preference) { return *preference = new Preference, SUCCESS; }

int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t bytes) {
    if (attribute == MAX_WORKSPACE_BYTES && bytes == 8) return memcpy(&preference->workspace, value, 8), SUCCESS;
    if (attribute >= MIN_ALIGNMENT_A && attribute <= MIN_ALIGNMENT_D && bytes == 4) {
        return memcpy(&preference->alignments[attribute - MIN_ALIGNMENT_A], value, 4), SUCCESS;
    }
    return INVALID_VALUE;
}

int cublasLtMatmulPreferenceDestroy(Preference* preference) { return delete preference, SUCCESS; }

int cublasLtMatmulAlgoGetHeuristic(
    void*, const Description* of, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
    const Preference* preference, int wanted, Chosen* chosen, int* found
) {
    *found = 0;
    if (!fit(*of, *a, *b, *c, *d) || wanted < 1) return INVALID_VALUE;
    if ((of->epilogue & BIAS) && !of->bias) return INVALID_VALUE;
    *chosen = Chosen{};
    chosen->workspace = preference->workspace;
    // The real ones assume these alignments.
    for (int at = 0; at < 4; at++) chosen->algorithm.data[at] = preference->alignments[at];
    *found = 1;
    return SUCCESS;
}

int cublasLtMatmul(
    void*, const Description* of, const float* alpha, const void* a, const Layout* la, const void* b, const Layout* lb,
    const float* beta, const void* c, const Layout* lc, void* d, const Layout* ld, const Algorithm* algorithm,
    void* workspace, size_t workspace_bytes, void*
) {
    if (*alpha != 1.0f || !fit(*of, *la, *lb, *lc, *ld)) return NOT_SUPPORTED;
    const void* operands[] = {a, b, c, d};
    for (int at = 0; at < 4; at++) {
        if ((uintptr_t)operands[at] % algorithm->data[at] != 0) return INVALID_VALUE;
    }
    if ((uintptr_t)workspace % 256 != 0) return INVALID_VALUE;
    check_memory("a matmul's A", a, la->bytes());
    check_memory("a matmul's B", b, lb->bytes());
    check_memory("a matmul's C", c, lc->bytes());
    check_memory("a matmul's D", d, ld->bytes());
    check_memory("a matmul's workspace", workspace, workspace_bytes);
    if (of->epilogue & BIAS) check_memory("a matmul's bias", of->bias, ld->rows * ld->size());
    // The descriptors may be gone when a graph runs.
    enqueue("matmul", 0, [=, of = *of, la = *la, lb = *lb, lc = *lc, ld = *ld, beta = *beta] {
        multiply(of, a, la, b, lb, beta, c, lc, d, ld);
    });
    return SUCCESS;
}

} // extern "C"
