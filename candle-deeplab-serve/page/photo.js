// @ts-check
// Makes what is sent and what is shown of a file.

import { Problem } from './problem.js';

/**
 * @typedef {object} Photo
 * @property {string} name
 * @property {Blob} blob what is sent
 * @property {number} width of what is sent, upright
 * @property {number} height
 * @property {CanvasImageSource} view what is shown
 * @property {string} note what a person should know about it, or nothing
 */

/** The longest side that is sent; models look at far fewer pixels. */
export const MAX_SIDE = 4096;
/** The longest side that is kept for showing: more does not fit on a screen. */
const VIEW_SIDE = 2048;
const QUALITY = 0.92;

/**
 * @param {Blob} file
 * @param {string} name
 * @param {{maxSide?: number, again?: boolean}} [how] `again`: encode the upright pixels anew
 * @returns {Promise<Photo>}
 */
export async function prepare(file, name, { maxSide = MAX_SIDE, again = false } = {}) {
  const pixels = await decode(file, name);
  const { width: fullWidth, height: fullHeight } = pixels;
  const [width, height] = within(fullWidth, fullHeight, maxSide);
  const smaller = width !== fullWidth || height !== fullHeight;
  const blob = smaller || again || !(await readable(file)) ? await encode(pixels, width, height) : file;
  const note = smaller ? `Scaled from ${fullWidth}×${fullHeight} to ${width}×${height} before sending.` : '';
  return { name, blob, width, height, view: shown(pixels), note };
}

/**
 * @param {Blob} file
 * @param {string} name
 */
async function decode(file, name) {
  try {
    return await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    throw new Problem(
      `${name} is not a photo that this browser can read.`,
      'Choose a JPEG, PNG or WebP file. Photos in other formats, such as HEIC or TIFF, have to be saved as JPEG first.',
    );
  }
}

/**
 * @param {number} width
 * @param {number} height
 * @param {number} side
 */
function within(width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/**
 * Whether the server reads the file as it is. What only the browser reads (AVIF, HEIC) and what may move (GIF) is sent
 * as JPEG instead.
 * @param {Blob} file
 */
async function readable(file) {
  const head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const text = String.fromCharCode(...head);
  return /^(\xff\xd8\xff|\x89PNG|BM|RIFF....WEBP)/s.test(text);
}

/**
 * @param {ImageBitmap | HTMLCanvasElement | HTMLVideoElement} pixels
 * @param {number} width
 * @param {number} height
 */
function drawn(pixels, width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const to = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  to.imageSmoothingQuality = 'high';
  to.fillStyle = '#fff';
  to.fillRect(0, 0, width, height);
  to.drawImage(pixels, 0, 0, width, height);
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} quality
 * @returns {Promise<Blob>}
 */
function jpeg(canvas, quality) {
  return new Promise((done, stop) => {
    canvas.toBlob((blob) => (blob ? done(blob) : stop(new Error('the photo could not be encoded'))), 'image/jpeg', quality);
  });
}

/**
 * @param {ImageBitmap} pixels
 * @param {number} width
 * @param {number} height
 */
async function encode(pixels, width, height) {
  const canvas = drawn(pixels, width, height);
  const blob = await jpeg(canvas, QUALITY);
  canvas.width = canvas.height = 0; // Safari keeps a canvas's pixels for long otherwise.
  return blob;
}

/**
 * A copy for the screen; the large one is let go at once.
 * @param {ImageBitmap} pixels
 */
function shown(pixels) {
  const [width, height] = within(pixels.width, pixels.height, VIEW_SIDE);
  if (width === pixels.width && height === pixels.height) return pixels;
  const small = drawn(pixels, width, height);
  pixels.close();
  return small;
}

/** The longest side of a camera's frame that is sent, and its quality: speed counts there. */
const FRAME_SIDE = 720;
const FRAME_QUALITY = 0.85;

/**
 * What the camera sees now.
 * @param {HTMLVideoElement} video
 * @returns {Promise<Photo>}
 */
export async function frameOf(video) {
  const [width, height] = within(video.videoWidth, video.videoHeight, FRAME_SIDE);
  const canvas = drawn(video, width, height);
  return { name: 'camera.jpg', blob: await jpeg(canvas, FRAME_QUALITY), width, height, view: canvas, note: '' };
}
