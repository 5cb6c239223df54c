// @ts-check
// What can go wrong, in plain words, and what to do then.

/**
 * What a person may do about a problem: `retry` sends the same photo again, `shrink` sends a smaller one.
 * @typedef {'retry' | 'shrink' | null} Way
 */

export class Problem extends Error {
  /**
   * @param {string} title what happened
   * @param {string} advice what to do
   * @param {Way} way
   */
  constructor(title, advice, way = null) {
    super(title);
    this.title = title;
    this.advice = advice;
    this.way = way;
  }
}

/**
 * @param {number} status
 * @param {string} said the server's own sentence, or nothing
 */
export function refusal(status, said) {
  const words = said ? `The server says: ${said.replace(/[.\s]*$/, '')}. ` : '';
  switch (status) {
    case 401:
    case 403:
      return new Problem('The server asks for an API key.', `${words}Enter the key that its owner gave you.`, 'retry');
    case 404:
      return new Problem('The server does not have this model.', `${words}Choose another, or reload the page.`, 'retry');
    case 413:
      return new Problem('The photo is too large for this server.', `${words}A smaller copy is enough for the model.`, 'shrink');
    case 415:
      return new Problem('The server cannot read this file.', `${words}Choose a JPEG, PNG or WebP photo.`);
    case 429:
      return new Problem('The server is busy.', 'Others are waiting as well. Try again in a minute.', 'retry');
    case 503:
      return new Problem('The server is not ready.', `${words}It loads its model or shuts down. Try again shortly.`, 'retry');
    case 504:
      return new Problem('The server took too long.', `${words}Try again, or send a smaller photo.`, 'shrink');
    default:
      return status < 500
        ? new Problem('The server did not accept the photo.', `${words}Choose another photo.`)
        : new Problem('Something went wrong in the server.', `${words}Try again; its log says more.`, 'retry');
  }
}

/** The server gave no answer at all. */
export function unreachable() {
  return new Problem(
    'The server cannot be reached.',
    'See that candle-deeplab serve is still running and that you are connected, then try again.',
    'retry',
  );
}

/**
 * Makes a problem of anything that was thrown.
 * @param {unknown} thrown
 */
export function asProblem(thrown) {
  if (thrown instanceof Problem) return thrown;
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  return new Problem('The answer could not be shown.', `What failed: ${said}. Try again, or reload the page.`, 'retry');
}
