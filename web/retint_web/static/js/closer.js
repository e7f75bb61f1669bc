// Deep zoom into a result, in a dialog. The preview is shown at once. The server makes the tiles of the full size when
// they are first asked for; as soon as they are there, they lie over the preview.

const LONGEST_PAUSE_MS = 10_000;
const GIVE_UP_MS = 300_000;

/** Load a script. OpenSeadragon is loaded only when it is first needed. */
const loadScript = (address) =>
  new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });

/** Shows the picture that `dialog.dataset.image` names, and its tiles where `dialog.dataset.tiles` does. */
export class Closer {
  viewer;
  #image;
  #wantsTiles;

  constructor(dialog) {
    this.dialog = dialog;
    this.picture = dialog.querySelector(".picture");
    const actions = {
      zoomIn: () => this.viewer?.viewport.zoomBy(1.6).applyConstraints(),
      zoomOut: () => this.viewer?.viewport.zoomBy(1 / 1.6).applyConstraints(),
      fit: () => this.viewer?.viewport.goHome(),
      close: () => dialog.close(),
    };
    dialog.addEventListener("click", ({ target }) => actions[target.closest("[data-act]")?.dataset.act]?.());
  }

  async open() {
    this.dialog.showModal();
    if (!window.OpenSeadragon) await loadScript(this.dialog.dataset.library);
    if (this.#image !== this.dialog.dataset.image) this.#openPreview();
    if (this.#wantsTiles) this.#waitForTiles();
  }

  #openPreview() {
    this.viewer?.destroy();
    for (const mark of ["ready", "drawn", "full"]) delete this.picture.dataset[mark];
    this.#image = this.dialog.dataset.image;
    this.#wantsTiles = Boolean(this.dialog.dataset.tiles);
    this.viewer = window.OpenSeadragon({
      element: this.picture,
      tileSources: { type: "image", url: this.#image },
      drawer: "canvas",
      showNavigationControl: false,
      maxZoomPixelRatio: 4,
      visibilityRatio: 0.6,
      constrainDuringPan: true,
      animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.8,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    });
    this.viewer.addHandler("open", () => { this.picture.dataset.ready = "true"; });
    this.viewer.addHandler("tile-drawn", () => { this.picture.dataset.drawn = "true"; });
    this.viewer.canvas.focus();
  }

  /** Ask for the tiles, ever less often, until they are there or the dialog is closed. */
  async #waitForTiles() {
    const status = this.dialog.querySelector("[role=status]");
    const began = Date.now();
    const image = this.#image;
    let pause = 1000;
    this.#wantsTiles = false;
    status.textContent = "";
    while (this.dialog.open && image === this.#image) {
      const answer = await fetch(this.dialog.dataset.tiles).catch(() => null);
      // Without an answer, or while a part of the server is away, it is worth asking again.
      if (answer && answer.status !== 202 && answer.status < 500) {
        status.textContent = "";
        if (answer.ok && image === this.#image) this.#addTiles();
        return;
      }
      if (Date.now() - began > GIVE_UP_MS) {
        status.textContent = "The full zoom is not ready yet.";
        break;
      }
      status.textContent = "Preparing full zoom …";
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(1.5 * pause, LONGEST_PAUSE_MS);
    }
    if (image === this.#image) this.#wantsTiles = true;
  }

  /** Lay the tiles over the preview, below a veil; seen when all that the view needs are loaded: nothing blurs. */
  #addTiles() {
    this.viewer.addTiledImage({
      tileSource: this.dialog.dataset.tiles,
      index: 1,
      width: 1,
      opacity: 0,
      preload: true,
      success: ({ item }) => {
        const show = () => {
          item.setOpacity(1);
          this.picture.dataset.full = "true";
        };
        if (item.getFullyLoaded()) show();
        else item.addOnceHandler("fully-loaded-change", show);
      },
    });
  }
}
