// @ts-check
// Colours a label map. The colours lie on a texture of the photo's size, or smaller where the photo is larger than any
// screen; a texture is painted anew when another class is isolated, and only drawn when a slider moves.

/** The longest side of a texture. */
const SIDE = 2048;
/** What lies over the rest of the photo while one class is isolated: nearly black, three quarters opaque. */
const VEIL = rgba(12, 13, 16, 190);
const NOTHING = 0;

export class Paint {
  constructor() {
    this.tint = document.createElement('canvas');
    this.outline = document.createElement('canvas');
    this.veil = document.createElement('canvas');
    /** @type {Uint8Array} the label map at the textures' size */
    this.ids = new Uint8Array(0);
    this.width = 0;
    this.height = 0;
    /** @type {ImageData | null} */
    this.buffer = null;
  }

  /**
   * Takes a new label map.
   * @param {{width: number, height: number, ids: Uint8Array}} map
   */
  load(map) {
    const scale = Math.min(1, SIDE / Math.max(map.width, map.height));
    const width = Math.max(1, Math.round(map.width * scale));
    const height = Math.max(1, Math.round(map.height * scale));
    this.ids = scale === 1 ? map.ids : nearest(map, width, height);
    if (width === this.width && height === this.height) return;
    [this.width, this.height] = [width, height];
    for (const canvas of [this.tint, this.outline, this.veil]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.buffer = new ImageData(width, height);
  }

  /**
   * @param {Map<number, string>} colors of the classes that get one, as `#rrggbb`
   * @param {number | null} only the isolated class
   * @param {number} reach how wide an outline is, in pixels of the texture
   */
  color(colors, only, reach) {
    if (!this.buffer) return;
    const pixels = new Uint32Array(this.buffer.data.buffer);
    const fills = new Uint32Array(256);
    for (const [id, color] of colors) if (only === null || only === id) fills[id] = opaque(color);
    const { ids, width, height } = this;

    for (let i = 0; i < ids.length; i++) pixels[i] = fills[ids[i]];
    put(this.tint, this.buffer);

    pixels.fill(NOTHING);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const id = ids[i];
        if (fills[id] === NOTHING) continue;
        const edge =
          (x >= reach && ids[i - reach] !== id) ||
          (x + reach < width && ids[i + reach] !== id) ||
          (y >= reach && ids[i - reach * width] !== id) ||
          (y + reach < height && ids[i + reach * width] !== id);
        if (edge) pixels[i] = fills[id];
      }
    }
    put(this.outline, this.buffer);

    if (only === null) return;
    for (let i = 0; i < ids.length; i++) pixels[i] = ids[i] === only ? NOTHING : VEIL;
    put(this.veil, this.buffer);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData} pixels
 */
function put(canvas, pixels) {
  canvas.getContext('2d')?.putImageData(pixels, 0, 0);
}

/**
 * @param {{width: number, height: number, ids: Uint8Array}} map
 * @param {number} width
 * @param {number} height
 */
function nearest(map, width, height) {
  const out = new Uint8Array(width * height);
  const columns = Uint32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * map.width) / width));
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * map.height) / height) * map.width;
    for (let x = 0; x < width; x++, i++) out[i] = map.ids[row + columns[x]];
  }
  return out;
}

/** @param {string} color `#rrggbb` */
function opaque(color) {
  const value = Number.parseInt(color.slice(1), 16);
  return rgba((value >> 16) & 255, (value >> 8) & 255, value & 255, 255);
}

/**
 * A pixel of ImageData as one number; browsers run on little-endian machines only.
 * @param {number} r
 * @param {number} g
 * @param {number} b
 * @param {number} a
 */
function rgba(r, g, b, a) {
  return ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
