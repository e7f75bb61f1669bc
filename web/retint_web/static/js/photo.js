// The photo page: the slider between before and after, and the look from close up.

const ratioOf = (figure) => Number(figure.dataset.width) / Number(figure.dataset.height);

for (const figure of document.querySelectorAll(".compare")) {
  const slider = figure.querySelector("input");
  const [left, right] = [".tag.left", ".tag.right"].map((tag) => figure.querySelector(tag));
  const show = () => {
    figure.style.setProperty("--at", `${slider.value}%`);
    left.style.opacity = slider.value > 12 ? 1 : 0;
    right.style.opacity = slider.value < 88 ? 1 : 0;
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % before, ${Math.round(100 - slider.value)} % after`);
  };
  figure.style.setProperty("--ratio", ratioOf(figure));
  figure.classList.add("live");
  slider.addEventListener("input", show);
  show();
}

/** Load OpenSeadragon when it is first wanted; most visits never need it. */
const library = (address) =>
  new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });

const dialog = document.querySelector("dialog.closer");
let viewer;

async function look() {
  dialog.showModal();
  if (viewer) return;
  const picture = dialog.querySelector(".picture");
  if (!window.OpenSeadragon) await library(dialog.dataset.library);
  viewer = window.OpenSeadragon({
    element: picture,
    tileSources: dialog.dataset.tiles || { type: "image", url: dialog.dataset.image },
    drawer: "canvas",
    showNavigationControl: false,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.6,
    constrainDuringPan: true,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.8,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });
  viewer.addHandler("open", () => { picture.dataset.ready = "true"; });
  viewer.addHandler("tile-drawn", () => { picture.dataset.drawn = "true"; });
  viewer.canvas.focus();
}

const acts = {
  nearer: () => viewer?.viewport.zoomBy(1.6).applyConstraints(),
  farther: () => viewer?.viewport.zoomBy(1 / 1.6).applyConstraints(),
  whole: () => viewer?.viewport.goHome(),
  close: () => dialog.close(),
};

if (dialog) {
  document.querySelector("[data-look]")?.addEventListener("click", look);
  dialog.addEventListener("click", ({ target }) => acts[target.closest("[data-act]")?.dataset.act]?.());
}
