// @ts-check
// The ways in which a photo comes to the page: dropped, pasted or picked.

/**
 * @param {object} parts
 * @param {HTMLInputElement} parts.input the file input
 * @param {Iterable<HTMLElement>} parts.pickers the buttons that open it
 * @param {HTMLElement} parts.target what is shown while a file is held over the page
 * @param {(file: File, left: number) => void} parts.take gets the photo, and how many more there were
 * @param {() => void} parts.nothing is called when what came is no file
 */
export function listen({ input, pickers, target, take, nothing }) {
  /** @param {FileList | null | undefined} files */
  const first = (files) => {
    if (files?.length) take(files[0], files.length - 1);
    else nothing();
  };

  for (const picker of pickers) picker.addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    if (input.files?.length) first(input.files);
    input.value = ''; // The same file can be chosen again.
  });

  // The page's parts each tell that the pointer enters and leaves, so only their balance says whether it is over the page.
  let inside = 0;
  const over = (/** @type {number} */ count) => {
    inside = Math.max(0, count);
    target.hidden = inside === 0;
  };
  addEventListener('dragenter', (event) => {
    event.preventDefault();
    over(inside + 1);
  });
  addEventListener('dragleave', () => over(inside - 1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    over(0);
    first(event.dataTransfer?.files);
  });
  addEventListener('paste', (event) => {
    const within = event.target instanceof Element && event.target.closest('input:not([type=range]), textarea');
    if (!within) first(event.clipboardData?.files);
  });
}
