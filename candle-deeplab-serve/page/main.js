// @ts-check
// The page of `candle-deeplab serve`: holds what is shown now and joins the modules.
//
// The scripts are plain JavaScript modules with their types in JSDoc, which `tsc --checkJs` and editors check. The page is
// small enough to need no framework, and so the files that lie here are the files that browsers get: building the program
// takes no node and no bundler, and no built copy can differ from its source.

import { models, pause, segment } from './api.js';
import { Camera } from './camera.js';
import { Downloads } from './downloads.js';
import { listen } from './intake.js';
import { keyAsker } from './keydialog.js';
import { ClassList } from './list.js';
import { frameOf, prepare } from './photo.js';
import { Problem, asProblem } from './problem.js';
import { analyse } from './result.js';
import { Stage } from './stage.js';
import { duration, seconds, spoken } from './words.js';

/**
 * @typedef {import('./photo.js').Photo} Photo
 * @typedef {import('./result.js').Result} Result
 */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

const el = {
  main: part('main', HTMLElement),
  models: part('models', HTMLElement),
  model: part('model', HTMLSelectElement),
  problem: part('problem', HTMLElement),
  title: part('problem-title', HTMLElement),
  advice: part('problem-advice', HTMLElement),
  way: part('way', HTMLButtonElement),
  dismiss: part('dismiss', HTMLButtonElement),
  empty: part('empty', HTMLElement),
  figure: part('figure', HTMLElement),
  canvas: part('canvas', HTMLCanvasElement),
  scan: part('scan', HTMLElement),
  name: part('name', HTMLElement),
  facts: part('facts', HTMLElement),
  stop: part('stop', HTMLButtonElement),
  turn: part('turn', HTMLButtonElement),
  cameraAgain: part('again-camera', HTMLButtonElement),
  pickAgain: part('again-pick', HTMLButtonElement),
  status: part('status', HTMLElement),
  cancel: part('cancel', HTMLButtonElement),
  spoken: part('spoken', HTMLElement),
  panel: part('panel', HTMLElement),
  all: part('all', HTMLButtonElement),
  opacity: part('opacity', HTMLInputElement),
  opacityValue: part('opacity-value', HTMLOutputElement),
  hint: part('hint', HTMLElement),
  what: part('what', HTMLElement),
  key: part('key', HTMLDialogElement),
};

const now = {
  /** @type {import('./api.js').Model[]} */
  models: [],
  /** @type {{file: Blob, name: string} | null} the file as it was chosen */
  source: null,
  /** @type {Photo | null} */
  photo: null,
  /** @type {Result | null} */
  result: null,
  /** @type {number | null} the isolated class */
  only: null,
  /** Ends what is under way when something else begins. */
  work: new AbortController(),
  /** @type {() => void} what the button of a problem does */
  again: () => {},
};

const stage = new Stage(
  {
    frame: part('frame', HTMLElement),
    canvas: el.canvas,
    bubble: part('bubble', HTMLElement),
    spoken: el.spoken,
    sides: part('sides', HTMLElement),
    divider: part('divider', HTMLInputElement),
  },
  (id) => classes.point(id),
  isolate,
);
const classes = new ClassList(part('classes', HTMLElement), isolate);
const stem = () => (now.photo?.name ?? 'photo').replace(/\.[^.]+$/, '');
const downloads = new Downloads(part('downloads', HTMLElement), make, stem);
const camera = new Camera();
const askKey = keyAsker(el.key);

/** @returns {import('./api.js').Patience} */
function patience(signal = now.work.signal) {
  return {
    signal,
    askKey,
    waiting: (left, status) => {
      const why = status === 429 ? 'The server is busy' : 'The server is not ready yet';
      say(`${why}. Trying again in ${seconds(left)}.`, true);
      if (left === 1) setTimeout(() => signal.aborted || say('Trying again…', true), 1000);
    },
  };
}

/** The model that is chosen; asks the server for its models first where that has not worked yet. */
async function model() {
  if (now.models.length === 0) {
    now.models = await models(patience());
    if (now.models.length === 0) {
      throw new Problem('The server has no model.', 'Start it with --model and the name of one.', 'retry');
    }
    showModels();
  }
  const chosen = now.models.find((one) => one.name === el.model.value);
  return chosen ?? now.models.find((one) => one.default) ?? now.models[0];
}

function showModels() {
  el.model.replaceChildren(
    ...now.models.map(({ name, ready, default: first }) => {
      const option = new Option(ready ? name : `${name} (not loaded yet)`, name, first, first);
      return option;
    }),
  );
  el.models.hidden = now.models.length < 2;
}

/** Ends what is under way. @returns {AbortSignal} of what begins */
function begin() {
  now.work.abort();
  now.work = new AbortController();
  el.problem.hidden = true;
  return now.work.signal;
}

/**
 * Runs a piece of work that a later one may end, and shows what goes wrong.
 * @param {(signal: AbortSignal) => Promise<void>} task
 * @param {() => void} again
 */
async function run(task, again) {
  const signal = begin();
  try {
    await task(signal);
    if (!signal.aborted) say('');
  } catch (error) {
    if (signal.aborted) return;
    say('');
    complain(asProblem(error), again);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

/**
 * Takes a new photo.
 * @param {Blob} file
 * @param {string} name
 * @param {{maxSide?: number}} [how]
 */
function open(file, name, how) {
  leaveCamera();
  return run(async (signal) => {
    say('Reading the photo…');
    const photo = await prepare(file, name, how);
    if (signal.aborted) return;
    now.source = { file, name };
    showPhoto(photo);
    await look(photo, signal);
  }, () => open(file, name, how));
}

/**
 * Asks the server about the photo that is shown.
 * @param {Photo} photo
 * @param {AbortSignal} signal
 */
async function look(photo, signal) {
  busy(true);
  say('Looking at the photo…');
  const chosen = await model();
  let result = await analyse(photo.blob, chosen, patience(signal));
  if (result.width !== photo.width || result.height !== photo.height) {
    // Server and browser disagree which way is up, as in a WebP with EXIF data; upright pixels leave no doubt.
    const upright = await prepare(photo.blob, photo.name, { again: true });
    if (signal.aborted) return;
    photo = { ...upright, note: photo.note };
    showPhoto(photo);
    result = await analyse(photo.blob, chosen, patience(signal));
  }
  if (signal.aborted) return;
  showResult(result, true);
  el.spoken.textContent = `${photo.name}: ${spoken(result.found)}. ${photo.note}`;
}

/** @param {Photo} photo */
function showPhoto(photo) {
  now.photo = photo;
  now.result = null;
  el.main.dataset.state = 'photo';
  el.empty.hidden = true;
  el.figure.hidden = false;
  el.name.textContent = photo.name;
  el.facts.textContent = `${photo.width}×${photo.height}${photo.note ? `. ${photo.note}` : ''}`;
  stage.setResult(null, false);
  stage.show(photo);
  isolate(null);
  el.panel.inert = true;
}

/**
 * @param {Result} result
 * @param {boolean} fade
 */
function showResult(result, fade) {
  now.result = result;
  el.panel.hidden = false;
  el.panel.inert = false;
  stage.setResult(result, fade);
  classes.show(result.found);
  classes.isolate(now.only);
  if (!now.photo || camera.on) return;
  const { width, height, note } = now.photo;
  const took = result.ms === null ? '' : ` in ${duration(result.ms)}`;
  el.facts.textContent = `${width}×${height}${took}${note ? `. ${note}` : ''}`;
}

/** @param {number | null} id the class to isolate; the isolated one once more shows all */
function isolate(id) {
  const was = now.only;
  now.only = id === now.only ? null : id;
  stage.isolate(now.only);
  classes.isolate(now.only);
  const name = now.result?.found.find((row) => row.id === now.only)?.name ?? null;
  downloads.isolate(name);
  el.all.hidden = now.only === null;
  el.hint.hidden = now.only !== null;
  el.what.hidden = name === null;
  el.what.textContent = name === null ? '' : `Only ${name}, without the other classes.`;
  if (was === now.only || !now.result) return;
  el.spoken.textContent = name === null ? 'All classes are shown.' : `Only ${name} is shown.`;
}

/** Live: a frame is sent when the answer to the last one is there. */
function goLive() {
  return run(async (signal) => {
    try {
      say('Starting the camera…');
      await camera.start();
      if (signal.aborted) return camera.stop();
      await stream(signal);
    } catch (error) {
      if (!signal.aborted) leaveCamera();
      throw error;
    }
  }, goLive);
}

/** @param {AbortSignal} signal */
async function stream(signal) {
  now.source = null;
  el.stop.hidden = false;
  el.turn.hidden = camera.count < 2;
  el.cameraAgain.hidden = el.pickAgain.hidden = true;
  showPhoto(await frameOf(camera.video));
  el.main.dataset.state = 'live';
  el.name.textContent = 'Camera';
  el.stop.focus();
  say('');
  const chosen = await model();
  let pace = 0;
  let last = performance.now();
  while (!signal.aborted) {
    if (camera.lost) throw new Problem('The camera has gone.', 'Connect it again, or choose a photo.', 'retry');
    await visible();
    const photo = await frameOf(camera.video);
    const result = await analyse(photo.blob, chosen, patience(signal));
    if (signal.aborted) return;
    say('');
    now.photo = photo;
    stage.show(photo);
    showResult(result, false);
    const time = performance.now();
    pace = pace ? 0.8 * pace + 0.2 * (time - last) : time - last;
    last = time;
    el.facts.textContent = `${photo.width}×${photo.height}, ${(1000 / pace).toFixed(pace < 200 ? 0 : 1)} frames a second`;
    await pause(10, signal); // The browser gets a turn to draw, and its video the next frame.
  }
}

/** Leaves the last frame as a photo. */
function leaveCamera() {
  const was = camera.on;
  camera.stop();
  el.stop.hidden = el.turn.hidden = true;
  el.cameraAgain.hidden = el.pickAgain.hidden = false;
  if (el.main.dataset.state === 'live') el.main.dataset.state = 'photo';
  if (!was || !now.photo || !now.result) return;
  el.facts.textContent = `${now.photo.width}×${now.photo.height}, the last frame`;
  el.spoken.textContent = `The camera is off. The last frame: ${spoken(now.result.found)}.`;
}

/** A page in the background sends no frames. @returns {Promise<void>} */
function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => document.addEventListener('visibilitychange', () => done(), { once: true }));
}

/**
 * A file of one format: from the answer at hand where it holds it, else from the server.
 * @param {string} format
 */
async function make(format) {
  const { photo, result, only } = now;
  if (!photo || !result) return null;
  const id = only === null ? null : String(only);
  if (format === 'cutout' && id === null) {
    say('Isolate a class first: choose it in the list or in the photo. Then its pixels can be cut out.');
    return null;
  }
  const held = id === null ? result.files.get(format) : undefined;
  if (held) return held;
  /** @type {Record<string, string>} */
  const query = { model: (await model()).name, format };
  if (format === 'cutout') query.cutout = String(id);
  else if (id !== null) query.classes = id;
  if (format === 'overlay') query.opacity = String(Number(el.opacity.value) / 100);
  // A download goes on while a slider is moved, and ends with the photo that it belongs to.
  const signal = now.work.signal;
  try {
    el.problem.hidden = true;
    say(`Making ${format}…`);
    const blob = await (await segment(photo.blob, query, patience(signal))).blob();
    say('');
    return blob;
  } catch (error) {
    if (!signal.aborted) {
      say('');
      complain(asProblem(error), null);
    }
    return null;
  }
}

/**
 * @param {string} text
 * @param {boolean} [canStop] whether the wait can be ended
 */
function say(text, canStop = false) {
  if (el.status.textContent !== text) el.status.textContent = text;
  el.cancel.hidden = !canStop;
}

/** @param {boolean} on */
function busy(on) {
  el.scan.hidden = !on;
  el.figure.setAttribute('aria-busy', String(on));
}

/**
 * @param {Problem} problem
 * @param {(() => void) | null} again
 */
function complain(problem, again) {
  el.title.textContent = problem.title;
  el.advice.textContent = problem.advice;
  const { source } = now;
  const shrinks = problem.way === 'shrink' && source && now.photo;
  el.way.hidden = !again || problem.way === null;
  el.way.textContent = shrinks ? 'Send a smaller copy' : 'Try again';
  now.again = () => again?.();
  if (shrinks) {
    const half = Math.ceil(Math.max(now.photo?.width ?? 0, now.photo?.height ?? 0) / 2);
    now.again = () => open(source.file, source.name, { maxSide: half });
  }
  el.problem.hidden = false;
  el.problem.scrollIntoView({ block: 'nearest' });
}

listen({
  input: part('file', HTMLInputElement),
  pickers: document.querySelectorAll('[data-pick]'),
  target: part('droptarget', HTMLElement),
  take: async (file, left) => {
    await open(file, file.name || 'photo.png');
    if (left > 0 && el.problem.hidden) say(`One photo is shown at a time; ${file.name} is the first of ${left + 1}.`);
  },
  nothing: () => complain(new Problem('That was no photo.', 'Drop or paste an image file, or choose one.'), null),
});
for (const button of document.querySelectorAll('[data-camera]')) button.addEventListener('click', goLive);
el.stop.addEventListener('click', () => {
  begin();
  say('');
  leaveCamera();
  el.cameraAgain.focus();
});
el.turn.addEventListener('click', () => {
  camera.turn();
  goLive();
});
el.cancel.addEventListener('click', () => {
  begin();
  say('');
  busy(false);
  leaveCamera();
  const waiting = new Problem('The photo was not looked at.', 'Try again when the server has time.', 'retry');
  if (!now.result) complain(waiting, lookAgain);
});
el.way.addEventListener('click', () => now.again());
el.dismiss.addEventListener('click', () => (el.problem.hidden = true));
el.all.addEventListener('click', () => {
  isolate(null);
  /** @type {HTMLElement | null} */ (document.querySelector('#classes button'))?.focus();
});
el.opacity.addEventListener('input', () => {
  el.opacityValue.value = `${el.opacity.value} %`;
  stage.setOpacity(Number(el.opacity.value) / 100);
});
el.model.addEventListener('change', () => {
  if (camera.on) goLive();
  else if (now.photo) lookAgain();
});
part('key-cancel', HTMLButtonElement).addEventListener('click', () => el.key.close('cancel'));
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && now.only !== null && !el.key.open) isolate(null);
});

/** The same photo once more, with another model or after a fault. */
function lookAgain() {
  const { photo } = now;
  if (!photo) return;
  run(async (signal) => {
    showPhoto(photo);
    await look(photo, signal);
  }, lookAgain);
}

/** The models are asked for at once, so that the picker is there before the first photo. */
run(async () => {
  await model();
}, () => location.reload());
