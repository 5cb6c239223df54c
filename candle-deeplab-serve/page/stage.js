// @ts-check
// The photo with its colours: draws them, and tells what lies under the pointer, a finger or the keyboard's cross.

import { Paint } from './paint.js';
import { probability } from './words.js';

/** Photos smaller than the page are enlarged, up to this. */
const LARGEST_SCALE = 3;
/** How far the bubble stands from a pointer, and from a finger, which covers more; CSS pixels. */
const GAP = { mouse: 16, pen: 24, touch: 56 };
const STEP = 8;
const FADE_MS = 450;

/**
 * @typedef {import('./photo.js').Photo} Photo
 * @typedef {import('./result.js').Result} Result
 * @typedef {import('./result.js').Found} Found
 */

export class Stage {
  /**
   * @param {object} parts
   * @param {HTMLElement} parts.frame the element around the canvas, which gets the photo's shape
   * @param {HTMLCanvasElement} parts.canvas
   * @param {HTMLElement} parts.bubble says the class under the pointer
   * @param {HTMLElement} parts.spoken says the same to screen readers, when the keyboard moves the cross
   * @param {HTMLElement} parts.sides the words "photo" and "classes" beside the divider
   * @param {HTMLInputElement} parts.divider the before/after slider
   * @param {(id: number | null) => void} point is told the class under the pointer
   * @param {(id: number) => void} pick is told the class that was chosen
   */
  constructor(parts, point, pick) {
    this.parts = parts;
    this.point = point;
    this.pick = pick;
    this.paint = new Paint();
    /** @type {Photo | null} */
    this.photo = null;
    /** @type {Result | null} */
    this.result = null;
    /** @type {number | null} */
    this.only = null;
    this.opacity = 0.6;
    /** How far the colours have faded in, 0 to 1. */
    this.strength = 1;
    this.faded = 0;
    /** @type {{x: number, y: number} | null} where the keyboard's cross is, in shares of the photo's sides */
    this.cross = null;
    this.reach = 0;
    this.waiting = false;

    new ResizeObserver(() => this.fit()).observe(/** @type {Element} */ (parts.frame.parentElement));
    addEventListener('resize', () => this.fit());
    parts.divider.addEventListener('input', () => this.draw());
    this.listen();
  }

  /** @param {Photo} photo */
  show(photo) {
    if (this.photo && this.photo !== photo && this.photo.view instanceof ImageBitmap) this.photo.view.close();
    this.photo = photo;
    this.fit();
  }

  /**
   * @param {Result | null} result
   * @param {boolean} fade
   */
  setResult(result, fade) {
    this.result = result;
    this.parts.divider.hidden = !result;
    if (!result) {
      this.leave();
      this.draw();
      return;
    }
    this.paint.load(result);
    this.recolor();
    this.strength = fade && !matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 1;
    this.faded = performance.now();
    this.draw();
  }

  /** @param {number | null} id */
  isolate(id) {
    this.only = id;
    this.recolor();
    this.draw();
  }

  /** @param {number} opacity 0 to 1 */
  setOpacity(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  recolor() {
    if (!this.result) return;
    this.reach = this.outlineReach();
    const colors = new Map(this.result.found.filter((row) => !row.background).map((row) => [row.id, row.color]));
    this.paint.color(colors, this.only, this.reach);
  }

  /** Outlines are about one CSS pixel wide, whatever the photo's scale. */
  outlineReach() {
    return Math.max(1, Math.round((1.2 * this.paint.width) / Math.max(1, this.parts.canvas.clientWidth)));
  }

  /** Gives the canvas the photo's shape, as large as the page allows, in the screen's own pixels. */
  fit() {
    const { frame, canvas } = this.parts;
    const room = /** @type {HTMLElement} */ (frame.parentElement);
    if (!this.photo || room.clientWidth === 0) return;
    const tallest = Number.parseFloat(getComputedStyle(frame).maxHeight) || innerHeight;
    const scale = Math.min(room.clientWidth / this.photo.width, tallest / this.photo.height, LARGEST_SCALE);
    const width = Math.max(1, Math.round(this.photo.width * scale));
    const height = Math.max(1, Math.round(this.photo.height * scale));
    frame.style.width = `${width}px`;
    frame.style.height = `${height}px`;
    const density = Math.min(devicePixelRatio || 1, 3);
    const [w, h] = [Math.round(width * density), Math.round(height * density)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    if (this.result && this.outlineReach() !== this.reach) this.recolor();
    this.paintNow();
  }

  /** Draws with the screen's next picture, however often it is asked until then. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paintNow();
    });
  }

  paintNow() {
    const { canvas, divider, sides } = this.parts;
    const to = canvas.getContext('2d', { alpha: false });
    if (!to || !this.photo) return;
    const { width: w, height: h } = canvas;
    to.imageSmoothingQuality = 'high';
    to.drawImage(this.photo.view, 0, 0, w, h);
    const split = Number(divider.value) / Number(divider.max);
    sides.hidden = !this.result || split < 0.01 || split > 0.99;
    if (!this.result) return;

    const age = (performance.now() - this.faded) / FADE_MS;
    this.strength = this.strength === 1 ? 1 : Math.min(1, age);
    to.save();
    to.beginPath();
    to.rect(w * split, 0, w * (1 - split), h);
    to.clip();
    if (this.only !== null) this.layer(to, this.paint.veil, this.strength);
    this.layer(to, this.paint.tint, this.opacity * this.strength);
    this.layer(to, this.paint.outline, this.opacity === 0 ? 0 : Math.min(1, this.opacity + 0.3) * this.strength);
    to.restore();
    if (split > 0.001 && split < 0.999) this.line(to, w * split, h);
    if (this.cross) this.mark(to, this.cross.x * w, this.cross.y * h);
    if (this.strength < 1) this.draw();
  }

  /**
   * @param {CanvasRenderingContext2D} to
   * @param {HTMLCanvasElement} from
   * @param {number} alpha
   */
  layer(to, from, alpha) {
    to.globalAlpha = alpha;
    to.drawImage(from, 0, 0, to.canvas.width, to.canvas.height);
    to.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} to
   * @param {number} x
   * @param {number} height
   */
  line(to, x, height) {
    const density = to.canvas.width / this.parts.canvas.clientWidth;
    to.fillStyle = 'rgb(0 0 0 / 35%)';
    to.fillRect(x - 2 * density, 0, 4 * density, height);
    to.fillStyle = '#fff';
    to.fillRect(x - density, 0, 2 * density, height);
  }

  /**
   * @param {CanvasRenderingContext2D} to
   * @param {number} x
   * @param {number} y
   */
  mark(to, x, y) {
    const density = to.canvas.width / this.parts.canvas.clientWidth;
    const arm = 11 * density;
    for (const [color, width] of /** @type {[string, number][]} */ ([['rgb(0 0 0 / 70%)', 5], ['#fff', 2]])) {
      to.strokeStyle = color;
      to.lineWidth = width * density;
      to.beginPath();
      to.moveTo(x - arm, y);
      to.lineTo(x + arm, y);
      to.moveTo(x, y - arm);
      to.lineTo(x, y + arm);
      to.stroke();
    }
  }

  listen() {
    const { canvas } = this.parts;
    const move = (/** @type {PointerEvent} */ event) => {
      const box = canvas.getBoundingClientRect();
      this.cross = null;
      this.read((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, event.pointerType);
    };
    canvas.addEventListener('pointerdown', move);
    canvas.addEventListener('pointermove', move);
    canvas.addEventListener('pointerleave', (event) => {
      // A finger has left when it is lifted; what it pointed at stays to be read.
      if (event.pointerType !== 'touch') this.leave();
    });
    canvas.addEventListener('click', (event) => {
      // A tap asks what is there; on a touch screen classes are isolated in the list.
      if (/** @type {PointerEvent} */ (event).pointerType === 'touch') return;
      const box = canvas.getBoundingClientRect();
      const at = this.at((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      if (at) this.pick(at.id);
    });
    canvas.addEventListener('keydown', (event) => this.key(event));
    canvas.addEventListener('blur', () => this.leave());
    addEventListener('pointerdown', (event) => {
      if (event.target !== canvas) this.leave();
    });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const direction = directions[/** @type {keyof typeof directions} */ (event.key)];
    if (!this.result) return;
    if (direction) {
      event.preventDefault();
      const step = event.shiftKey ? 4 * STEP : STEP;
      const { clientWidth, clientHeight } = this.parts.canvas;
      const from = this.cross ?? { x: 0.5, y: 0.5 };
      const inside = (/** @type {number} */ share) => Math.min(Math.max(share, 0), 0.9999);
      this.cross = {
        x: inside(from.x + (direction[0] * step) / clientWidth),
        y: inside(from.y + (direction[1] * step) / clientHeight),
      };
      this.read(this.cross.x, this.cross.y, 'mouse');
      this.parts.spoken.textContent = this.parts.bubble.textContent;
      this.draw();
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      const at = this.cross && this.at(this.cross.x, this.cross.y);
      if (at) this.pick(at.id);
    }
  }

  /**
   * The class of a pixel and its probability.
   * @param {number} x in shares of the width
   * @param {number} y in shares of the height
   */
  at(x, y) {
    const result = this.result;
    if (!result || x < 0 || y < 0 || x >= 1 || y >= 1) return null;
    const i = Math.floor(y * result.height) * result.width + Math.floor(x * result.width);
    return { id: result.ids[i], confidence: result.confidence[i] };
  }

  /**
   * Says what is at a place, in a bubble beside it.
   * @param {number} x
   * @param {number} y
   * @param {string} pointer
   */
  read(x, y, pointer) {
    const { bubble, frame } = this.parts;
    const at = this.at(x, y);
    if (!at) {
      this.leave();
      return;
    }
    const row = this.result?.found.find((found) => found.id === at.id);
    const swatch = document.createElement('i');
    swatch.className = 'swatch';
    swatch.style.background = !row || row.background ? '' : row.color;
    const name = document.createElement('b');
    name.textContent = row?.name ?? `class ${at.id}`;
    bubble.replaceChildren(swatch, name, ` ${probability(at.confidence)}`);
    bubble.hidden = false;

    const gap = GAP[/** @type {keyof typeof GAP} */ (pointer)] ?? GAP.mouse;
    const half = bubble.offsetWidth / 2 + 4;
    const left = Math.min(Math.max(x * frame.clientWidth, half), Math.max(half, frame.clientWidth - half));
    const above = y * frame.clientHeight - gap - bubble.offsetHeight;
    const top = above < 4 ? y * frame.clientHeight + gap : above;
    bubble.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px) translateX(-50%)`;
    this.point(at.id);
  }

  leave() {
    if (this.cross) {
      this.cross = null;
      this.draw();
    }
    this.parts.bubble.hidden = true;
    this.point(null);
  }
}
