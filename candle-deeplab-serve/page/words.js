// @ts-check
// Numbers as people read them.

/**
 * A share of the photo.
 * @param {number} share 0 to 1
 */
export function percent(share) {
  if (share > 0 && share < 0.001) return '< 0.1 %';
  return `${(share * 100).toFixed(1)} %`;
}

/**
 * A probability; never 100 %, of which no network is sure.
 * @param {number} byte 255 times the probability
 */
export function probability(byte) {
  return byte >= 254 ? '> 99 %' : `${Math.round((byte / 255) * 100)} %`;
}

/** @param {number} ms */
export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** @param {number} seconds */
export function seconds(seconds) {
  return seconds === 1 ? '1 second' : `${seconds} seconds`;
}

/** @param {import('./result.js').Found[]} found */
export function spoken(found) {
  return found.map((row) => `${row.name} ${percent(row.share)}`).join(', ');
}
