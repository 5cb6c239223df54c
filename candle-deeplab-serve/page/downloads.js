// @ts-check
// The formats that can be saved. What the answer held already is saved at once; the server makes the others.

/**
 * @typedef {object} Format
 * @property {string} format its name in the server's interface
 * @property {string} title
 * @property {string} about
 * @property {string} end how its file's name ends where the answer's type does not say
 */

/** @type {{title: string, formats: Format[]}[]} */
const GROUPS = [
  {
    title: 'Pictures',
    formats: [
      { format: 'overlay', title: 'Overlay', about: 'The photo with colours, outlines and names over it', end: 'jpg' },
      { format: 'contours', title: 'Outlines', about: 'The photo with outlines and names', end: 'jpg' },
      { format: 'color', title: 'Colours', about: "The classes' colours alone", end: 'png' },
      { format: 'cutout', title: 'Cutout', about: 'The isolated class before a transparent background', end: 'png' },
    ],
  },
  {
    title: 'Label maps',
    formats: [
      { format: 'mask', title: 'Indexed PNG', about: "Class ids with the data set's palette", end: 'png' },
      { format: 'ids', title: 'Grey PNG', about: 'Class ids as grey values', end: 'png' },
      { format: 'confidence', title: 'Probability', about: 'A grey PNG: how sure the model is of each pixel', end: 'png' },
      { format: 'npy', title: 'NumPy', about: 'Class ids as a numpy array', end: 'npy' },
    ],
  },
  {
    title: 'Data',
    formats: [
      { format: 'json', title: 'JSON', about: 'The classes, their shares and boxes', end: 'json' },
      { format: 'geojson', title: 'GeoJSON', about: 'Polygons along the pixels’ edges', end: 'geojson' },
      { format: 'rle', title: 'COCO RLE', about: 'Run lengths, as pycocotools reads them', end: 'rle.json' },
    ],
  },
];
const ENDS = new Map([['image/jpeg', 'jpg'], ['image/png', 'png'], ['image/webp', 'webp']]);

export class Downloads {
  /**
   * @param {HTMLElement} place
   * @param {(format: string) => Promise<Blob | null>} make fetches a format; null where it could not be had
   * @param {() => string} stem the photo's name without its extension
   */
  constructor(place, make, stem) {
    this.make = make;
    this.stem = stem;
    /** @type {HTMLButtonElement | null} */
    this.cutout = null;
    place.replaceChildren(...GROUPS.map((group) => this.group(group.title, group.formats)));
  }

  /**
   * @param {string} title
   * @param {Format[]} formats
   */
  group(title, formats) {
    const group = document.createElement('div');
    group.className = 'formats';
    group.setAttribute('role', 'group');
    const heading = document.createElement('h3');
    heading.textContent = title;
    heading.id = `formats-${formats[0].format}`;
    group.setAttribute('aria-labelledby', heading.id);
    group.append(heading, ...formats.map((format) => this.button(format)));
    return group;
  }

  /** @param {Format} format */
  button(format) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'chip';
    button.dataset.format = format.format;
    button.textContent = format.title;
    button.title = format.about;
    button.addEventListener('click', () => this.save(button, format));
    if (format.format === 'cutout') this.cutout = button;
    return button;
  }

  /**
   * Only an isolated class can be cut out.
   * @param {string | null} name of the isolated class
   */
  isolate(name) {
    if (!this.cutout) return;
    this.cutout.setAttribute('aria-disabled', String(name === null));
    this.cutout.title = name === null ? 'Isolate a class first' : `The pixels of ${name} before a transparent background`;
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {Format} format
   */
  async save(button, format) {
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    try {
      const blob = await this.make(format.format);
      if (blob) hand(blob, `${this.stem()}.${fileEnd(blob, format)}`);
    } finally {
      button.removeAttribute('aria-busy');
    }
  }
}

/**
 * Names end as those that `candle-deeplab segment` writes: photo.overlay.jpg, photo.mask.png, photo.json.
 * @param {Blob} blob
 * @param {Format} format
 */
function fileEnd(blob, { format, end }) {
  const picture = ENDS.get(blob.type.split(';')[0]) ?? (/^(jpg|png)$/.test(end) ? end : null);
  return picture ? `${format}.${picture}` : end;
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function hand(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
