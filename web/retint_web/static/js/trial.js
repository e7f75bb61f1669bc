// The form of a trial: show the chosen photo before it is sent, and show that it is being sent.

const form = document.querySelector("form.trying");
const picture = form.querySelector("[data-chosen]");
const file = form.querySelector("input[type=file]");
const start = form.querySelector("[data-start]");

file.addEventListener("change", () => {
  URL.revokeObjectURL(picture.src);
  picture.hidden = true;
  if (file.files.length) picture.src = URL.createObjectURL(file.files[0]);
});
// A photo that the browser cannot show, such as a TIFF, can be tried all the same.
picture.addEventListener("load", () => { picture.hidden = false; });

form.addEventListener("submit", () => { start.disabled = true; start.textContent = "Sending…"; });
addEventListener("pageshow", () => { start.disabled = false; start.textContent = "Try this photo"; });
