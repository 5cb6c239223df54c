// @ts-check
// The camera: where its pictures come from and which one of several is on.

import { Problem } from './problem.js';

export class Camera {
  constructor() {
    this.video = document.createElement('video');
    this.video.muted = true;
    this.video.playsInline = true; // iPhones show it in full screen otherwise.
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {'environment' | 'user'} */
    this.facing = 'environment';
    /** How many cameras there are; known once one is on. */
    this.count = 0;
  }

  get on() {
    return this.stream !== null;
  }

  async start() {
    this.stop();
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Problem(
        'The camera is not available here.',
        'Browsers allow it on https addresses and on localhost only. Take a photo and choose it instead.',
      );
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { facingMode: { ideal: this.facing }, width: { ideal: 1280 }, height: { ideal: 720 } },
      });
      this.video.srcObject = this.stream;
      await this.video.play();
      const devices = await navigator.mediaDevices.enumerateDevices();
      this.count = devices.filter((device) => device.kind === 'videoinput').length;
    } catch (error) {
      this.stop();
      throw refused(error);
    }
  }

  /** Lets the next start take the camera on the other side of the phone. */
  turn() {
    this.facing = this.facing === 'user' ? 'environment' : 'user';
  }

  /** Whether it was unplugged, or taken by another program. */
  get lost() {
    return this.stream?.getVideoTracks().every((track) => track.readyState === 'ended') ?? false;
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }
}

/** @param {unknown} error */
function refused(error) {
  const name = error instanceof Error ? error.name : '';
  if (name === 'NotAllowedError') {
    return new Problem('The camera is not allowed.', "Allow it in the browser's settings for this page, then try again.");
  }
  if (name === 'NotFoundError' || name === 'OverconstrainedError') {
    return new Problem('There is no camera.', 'Connect one, or choose a photo instead.');
  }
  return new Problem('The camera does not start.', 'Close other programs that use it, then try again.');
}
