// @ts-check
// Talks to the server: the models, one request for each photo, and more for the downloads.

import { Problem, refusal, unreachable } from './problem.js';

/**
 * @typedef {{id: number, name: string, color: string, vivid: string}} Class
 * @typedef {{name: string, ready: boolean, default?: boolean, classes: Class[], background: number | null}} Model
 * @typedef {object} Patience what a request does while it has to wait
 * @property {AbortSignal} [signal]
 * @property {(seconds: number, status: number) => void} [waiting] is told each second how long the wait still is
 * @property {() => Promise<string | null>} askKey asks for the API key; null where the person gives none
 */

const KEY = 'candle-deeplab.api-key';
/** How often a busy server is asked before a person has to decide. */
const TRIES = 6;
const LONGEST_WAIT = 60;

/** The key, where the browser keeps nothing for this page. */
let key = '';

function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? key;
  } catch {
    return key;
  }
}

/** @param {string} given */
function storeKey(given) {
  key = given;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    // The variable holds it until the page is closed.
  }
}

/**
 * The models of the server.
 * @param {Patience} patience
 * @returns {Promise<Model[]>}
 */
export async function models(patience) {
  const answer = await ask('v1/models', {}, patience);
  return (await answer.json()).models;
}

/**
 * @param {Blob} photo
 * @param {Record<string, string>} query `format`, and `model`, `classes`, `opacity`, `cutout` where they are wanted
 * @param {Patience} patience
 */
export function segment(photo, query, patience) {
  const type = photo.type.startsWith('image/') ? photo.type : 'application/octet-stream';
  const address = `v1/segment?${new URLSearchParams(query)}`;
  return ask(address, { method: 'POST', body: photo, headers: { 'Content-Type': type } }, patience);
}

/**
 * One request, with the key, again after a wait where the server is busy.
 * @param {string} address
 * @param {RequestInit} request
 * @param {Patience} patience
 */
async function ask(address, request, patience) {
  for (let attempt = 1; ; ) {
    const answer = await send(address, request, patience.signal);
    if (answer.ok) return answer;
    if (answer.status === 401) {
      const given = await patience.askKey();
      if (!given) throw refusal(401, '');
      storeKey(given);
      continue;
    }
    const wait = retryAfter(answer);
    if (wait === null || attempt >= TRIES) throw refusal(answer.status, await sentence(answer));
    attempt += 1;
    for (let left = wait; left > 0; left--) {
      patience.waiting?.(left, answer.status);
      await pause(1000, patience.signal);
    }
  }
}

/**
 * @param {string} address
 * @param {RequestInit} request
 * @param {AbortSignal} [signal]
 */
async function send(address, request, signal) {
  const headers = new Headers(request.headers);
  const known = storedKey();
  try {
    if (known) headers.set('Authorization', `Bearer ${known}`);
  } catch {
    storeKey('');
    const advice = 'Copy it once more, without anything around it.';
    throw new Problem('The API key has characters that cannot be sent.', advice, 'retry');
  }
  try {
    return await fetch(address, { ...request, headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable();
  }
}

/**
 * How many seconds to wait before the next try; null where another try is no use.
 * @param {Response} answer
 */
function retryAfter(answer) {
  const said = answer.headers.get('Retry-After');
  if (answer.status !== 429 && !(answer.status === 503 && said)) return null;
  const seconds = said === null ? 2 : /^\d+$/.test(said) ? Number(said) : (Date.parse(said) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), LONGEST_WAIT) : 2;
}

/**
 * The sentence of an error answer, or nothing where it has none.
 * @param {Response} answer
 */
async function sentence(answer) {
  try {
    const { error } = await answer.json();
    return typeof error === 'string' ? error : '';
  } catch {
    return '';
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((done, stop) => {
    const ended = () => (clearTimeout(timer), stop(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener('abort', ended), done()), ms);
    if (signal?.aborted) ended();
    else signal?.addEventListener('abort', ended, { once: true });
  });
}
