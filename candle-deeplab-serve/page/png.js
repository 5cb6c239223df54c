// @ts-check
// Reads the numbers of a PNG exactly. A canvas is no way to read them: it hands out colours, after colour management,
// and not the palette's indices.

/**
 * @typedef {object} Samples
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} data one value for each pixel, row by row: the index of a palette image, the grey of a grey one
 */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const PALETTE = 3;
/** A photograph has fewer pixels than this; a larger header is damaged. */
const MAX_PIXELS = 1 << 28;

/**
 * Reads a grey or palette PNG of 1, 2, 4 or 8 bits.
 * @param {Blob} blob
 * @returns {Promise<Samples>}
 */
export async function readPng(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) throw new Error('this is no PNG');
  /** @type {{width: number, height: number, depth: number} | null} */
  let header = null;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const packed = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = at + 8;
    if (body + length + 4 > bytes.length) throw new Error('the PNG ends too early');
    if (name === 'IHDR') header = readHeader(view, body, length);
    if (name === 'IDAT') packed.push(bytes.subarray(body, body + length));
    if (name === 'IEND') break;
    at = body + length + 4;
  }
  if (!header) throw new Error('the PNG has no header');
  const { width, height, depth } = header;
  const stride = Math.ceil((width * depth) / 8);
  const rows = await inflate(packed, (stride + 1) * height);
  return { width, height, data: unpack(unfilter(rows, stride, height), width, height, depth, stride) };
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} length
 */
function readHeader(view, at, length) {
  if (length !== 13) throw new Error('the PNG has a damaged header');
  const width = view.getUint32(at);
  const height = view.getUint32(at + 4);
  const depth = view.getUint8(at + 8);
  const color = view.getUint8(at + 9);
  if (!width || !height || width * height > MAX_PIXELS) throw new Error(`a PNG of ${width}×${height} is not read`);
  if (color !== GREY && color !== PALETTE) throw new Error(`a PNG of colour type ${color} holds no class ids`);
  if (![1, 2, 4, 8].includes(depth)) throw new Error(`a PNG of ${depth} bits is not read`);
  if (view.getUint8(at + 12) !== 0) throw new Error('an interlaced PNG is not read');
  return { width, height, depth };
}

/**
 * @param {Uint8Array<ArrayBuffer>[]} parts zlib data
 * @param {number} size how many bytes they hold
 */
async function inflate(parts, size) {
  const rows = new Uint8Array(size);
  let filled = 0;
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > size) throw new Error('the PNG holds more than its size says');
    rows.set(value, filled);
    filled += value.length;
  }
  if (filled !== size) throw new Error('the PNG holds less than its size says');
  return rows;
}

/**
 * Undoes the five filters (PNG specification, section 9). A pixel takes one byte at most, so the byte to the left is the
 * one before.
 * @param {Uint8Array} rows each with its filter's number before it
 * @param {number} stride
 * @param {number} height
 */
function unfilter(rows, stride, height) {
  const out = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)];
    const from = y * (stride + 1) + 1;
    const to = y * stride;
    const above = to - stride;
    if (filter > 4) throw new Error(`the PNG has a filter of type ${filter}`);
    for (let x = 0; x < stride; x++) {
      const a = x > 0 ? out[to + x - 1] : 0;
      const b = y > 0 ? out[above + x] : 0;
      let guess = 0;
      if (filter === 1) guess = a;
      else if (filter === 2) guess = b;
      else if (filter === 3) guess = (a + b) >> 1;
      else if (filter === 4) guess = paeth(a, b, x > 0 && y > 0 ? out[above + x - 1] : 0);
      out[to + x] = rows[from + x] + guess;
    }
  }
  return out;
}

/**
 * @param {number} a left
 * @param {number} b above
 * @param {number} c above and left
 */
function paeth(a, b, c) {
  const pa = Math.abs(b - c);
  const pb = Math.abs(a - c);
  const pc = Math.abs(a + b - 2 * c);
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/**
 * @param {Uint8Array} rows
 * @param {number} width
 * @param {number} height
 * @param {number} depth
 * @param {number} stride
 */
function unpack(rows, width, height, depth, stride) {
  if (depth === 8) return rows;
  const out = new Uint8Array(width * height);
  const perByte = 8 / depth;
  const most = (1 << depth) - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = rows[y * stride + Math.floor(x / perByte)];
      out[y * width + x] = (byte >> (8 - depth * ((x % perByte) + 1))) & most;
    }
  }
  return out;
}
