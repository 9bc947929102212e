// Pictures of the API. They are fetched, not linked, because a picture's own request could not carry the access key.

import { ApiError, send } from "./api.js";
import { pause } from "./stream.js";

const AT_ONCE = 4;
const RETRY = 2000;

/** A picture of the API, as the browser may have kept it. */
export async function fetchPicture(path, { signal } = {}) {
  return (await send("GET", path, { signal, cache: "default" })).blob();
}

/** Puts pictures into `<img>` elements, few at once; after one that is refused it gives up and says why. While the
 * gateway does not answer it tries again.
 * @param wanted [{picture, path}] */
export async function fillPictures(wanted, { signal, onTrouble }) {
  const queue = [...wanted];
  const one = async () => {
    const next = queue.shift();
    try {
      show(next.picture, await fetchPicture(next.path, { signal }));
    } catch (error) {
      if (error.status === 0) {
        queue.unshift(next);
        await pause(RETRY, signal);
        if (!signal.aborted) return;
      }
      queue.length = 0;
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      onTrouble(error.text);
    }
  };
  const work = async () => {
    while (queue.length) await one();
  };
  // The first alone: where the data set is not at hand, one refusal is enough.
  if (queue.length) await one();
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Shows a picture, whose bytes are let go of once it is drawn. */
function show(picture, blob) {
  const address = URL.createObjectURL(blob);
  picture.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  picture.src = address;
}
