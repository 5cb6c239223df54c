// @ts-check
// Asks for the API key.

/**
 * Makes the function that asks: it answers with the key, or with null where the person gives none. Requests that need
 * the key at the same time share one dialog.
 * @param {HTMLDialogElement} dialog has a form with a field `key`; its buttons' values are `use` and `cancel`
 * @returns {() => Promise<string | null>}
 */
export function keyAsker(dialog) {
  const field = /** @type {HTMLInputElement} */ (dialog.querySelector('input'));
  const again = /** @type {HTMLElement} */ (dialog.querySelector('.again'));
  /** @type {Promise<string | null> | null} */
  let open = null;
  let asked = false;
  return () => {
    open ??= new Promise((done) => {
      again.hidden = !asked;
      asked = true;
      field.value = '';
      dialog.returnValue = 'cancel';
      dialog.showModal();
      dialog.addEventListener(
        'close',
        () => {
          open = null;
          const key = dialog.returnValue === 'use' ? field.value.trim() : '';
          done(key || null);
        },
        { once: true },
      );
    });
    return open;
  };
}
