// @ts-check
// The classes with their shares as bars. Each row is a button that isolates its class.

import { percent } from './words.js';

/** @typedef {import('./result.js').Found} Found */

export class ClassList {
  /**
   * @param {HTMLElement} list
   * @param {(id: number) => void} pick
   */
  constructor(list, pick) {
    this.list = list;
    this.pick = pick;
    /** @type {Map<number, HTMLButtonElement>} */
    this.rows = new Map();
  }

  /**
   * Rows of classes that stay are kept, so that the keyboard's focus and the bars' movement survive a camera's next frame.
   * @param {Found[]} found
   */
  show(found) {
    const before = this.rows;
    this.rows = new Map(found.map((row) => [row.id, before.get(row.id) ?? this.row(row)]));
    for (const row of found) {
      const button = /** @type {HTMLButtonElement} */ (this.rows.get(row.id));
      button.style.setProperty('--share', String(row.share));
      if (!row.background) button.style.setProperty('--color', row.color);
      /** @type {Element} */ (button.querySelector('.share')).textContent = percent(row.share);
    }
    const items = [...this.rows.values()].map((button) => /** @type {HTMLElement} */ (button.parentElement));
    const same = items.length === this.list.children.length && items.every((item, i) => this.list.children[i] === item);
    if (!same) this.list.replaceChildren(...items);
  }

  /** @param {Found} row */
  row(row) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'class';
    button.setAttribute('aria-pressed', 'false');
    for (const name of ['swatch', 'name', 'share', 'bar']) {
      const part = document.createElement('span');
      part.className = name;
      if (name === 'name') part.textContent = row.name;
      button.append(part, ' ');
    }
    button.addEventListener('click', () => this.pick(row.id));
    item.append(button);
    return button;
  }

  /** @param {number | null} only the isolated class */
  isolate(only) {
    this.list.classList.toggle('isolating', only !== null);
    for (const [id, button] of this.rows) button.setAttribute('aria-pressed', String(id === only));
  }

  /** @param {number | null} id the class under the pointer */
  point(id) {
    for (const [row, button] of this.rows) button.classList.toggle('pointed', row === id);
  }
}
