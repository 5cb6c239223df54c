// @ts-check
// One photo's answer: the label map, the probabilities and the classes' shares.

import { segment } from './api.js';
import { readPng } from './png.js';

/**
 * @typedef {object} Found a class that is in the photo
 * @property {number} id
 * @property {string} name
 * @property {number} share of all pixels, 0 to 1
 * @property {string} color
 * @property {boolean} background
 *
 * @typedef {object} Result
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} ids class of each pixel
 * @property {Uint8Array} confidence 255 times the probability of that class
 * @property {Found[]} found the largest first
 * @property {Map<string, Blob>} files what the answer holds, by format
 * @property {number | null} ms what the server worked for it, without waiting
 */

/**
 * @param {Blob} photo
 * @param {import('./api.js').Model} model
 * @param {import('./api.js').Patience} patience
 * @returns {Promise<Result>}
 */
export async function analyse(photo, model, patience) {
  const query = { model: model.name, format: 'mask,confidence,json' };
  const answer = await segment(photo, query, patience);
  const form = await answer.formData();
  const files = new Map([...form].map(([name, part]) => [name, part instanceof Blob ? part : new Blob([part])]));
  const [mask, confidence] = await Promise.all(['mask', 'confidence'].map((name) => readPng(part(files, name))));
  const json = JSON.parse(await part(files, 'json').text());
  if (confidence.width !== mask.width || confidence.height !== mask.height) {
    throw new Error('mask and probabilities differ in size');
  }
  return {
    width: mask.width,
    height: mask.height,
    ids: mask.data,
    confidence: confidence.data,
    found: json.classes.map((/** @type {any} */ row) => described(row, model)).sort(byShare),
    files,
    ms: worked(answer.headers.get('Server-Timing')),
  };
}

/**
 * @param {Map<string, Blob>} files
 * @param {string} name
 */
function part(files, name) {
  const file = files.get(name);
  if (!file) throw new Error(`the answer has no ${name}`);
  return file;
}

/**
 * The class's row with the colour that the page gives it.
 * @param {{id?: number, class?: number, name: string, share: number}} row
 * @param {import('./api.js').Model} model
 * @returns {Found}
 */
function described(row, model) {
  const id = row.id ?? row.class ?? 0;
  const color = model.classes.find((known) => known.id === id)?.vivid ?? '#808080';
  return { id, name: row.name, share: row.share, color, background: id === model.background };
}

/**
 * @param {Found} a
 * @param {Found} b
 */
function byShare(a, b) {
  return b.share - a.share;
}

/**
 * Milliseconds of preprocessing, computing and encoding.
 * @param {string | null} header
 */
function worked(header) {
  if (!header) return null;
  let sum = 0;
  for (const [, name, ms] of header.matchAll(/([\w-]+)\s*;[^,]*?dur=([\d.]+)/g)) {
    if (name !== 'queue') sum += Number(ms);
  }
  return sum;
}
