// Typeset the formulas, fit each slide to the screen, then start reveal.js.
window.MathJax = {
  tex: { inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]], processEscapes: true },
  // Formulas stand in Markdown only; a dollar in an output is a dollar.
  options: {
    enableMenu: false, // it could load more from the network
    ignoreHtmlClass: "reveal",
    processHtmlClass: "jp-RenderedMarkdown|jp-RenderedLatex",
  },
  svg: { fontCache: "local" }, // notes are copied into another window
  startup: { typeset: false },
};

// How large text and figures are shown, from the best to the least. The floor keeps code at 15 px;
// a figure's scale is that of its own pixels.
const SIZES = [
  [1.25, 1.5], [1.2, 1.4], [1.15, 1.3], [1.1, 1.2], [1.05, 1.1], [1, 1],
  [0.95, 1], [0.9, 1], [0.85, 1], [0.8, 1], [0.8, 0.9], [0.8, 0.8],
];

function fits(slide) {
  const style = getComputedStyle(slide);
  const box = slide.getBoundingClientRect();
  const right = box.right - parseFloat(style.paddingRight) + 1;
  const bottom = box.bottom - parseFloat(style.paddingBottom) + 1;
  const parts = slide.querySelectorAll(":scope > *, pre, table, img, svg, .jp-OutputArea-output *");
  return [...parts].every((part) => {
    const { right: r, bottom: b } = part.getBoundingClientRect();
    const lines = part.tagName !== "PRE" || part.scrollWidth <= part.clientWidth + 1;
    return r <= right && b <= bottom && lines;
  });
}

function fit(slide) {
  const images = slide.querySelectorAll(".jp-RenderedImage img, .jp-RenderedMarkdown img");
  for (const [zoom, scale] of SIZES) {
    slide.style.setProperty("--zoom", zoom);
    slide.style.setProperty("--scale", scale);
    for (const image of images) image.style.width = `${(image.naturalWidth * scale) / zoom}px`;
    if (fits(slide)) return;
  }
}

// A slide that goes on with a section says which.
function nameSection(slide, heading) {
  const line = document.createElement("p");
  line.className = "section-name";
  line.textContent = heading;
  slide.prepend(line);
  return heading;
}

// No line starts with the comma after a formula.
function keepPunctuation(formula) {
  const mark = /^[.,;:!?)]+/.exec(formula.nextSibling?.data ?? "");
  if (!mark) return;
  formula.nextSibling.data = formula.nextSibling.data.slice(mark[0].length);
  const together = document.createElement("span");
  together.style.whiteSpace = "nowrap";
  formula.replaceWith(together);
  together.append(formula, mark[0]);
}

async function start() {
  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  document.querySelectorAll("mjx-container:not([display])").forEach(keepPunctuation);
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  let heading = "";
  for (const slide of document.querySelectorAll(".slides > section > section")) {
    heading = slide.querySelector("h1, h2")?.textContent ?? nameSection(slide, heading);
    // Notes inside a fragment would only be shown with it.
    slide.append(...slide.querySelectorAll(".fragment aside.notes"));
    fit(slide);
  }
  document.querySelector(".slides").classList.remove("measuring");
  for (const control of document.querySelectorAll(CONTROLS)) {
    control.setAttribute("data-prevent-swipe", "");
  }
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    transition: "none",
    navigationMode: "linear", // no slide is passed over by the wrong arrow
    slideNumber: "c/t",
    controlsTutorial: false,
    scrollActivationWidth: null, // slides also in the small frames of the speaker's window
    pdfSeparateFragments: false,
    keyboardCondition: (event) => !isForControl(event),
    plugins: [RevealNotes],
  });
}

// Keys pressed in a slider move the slider, not the deck.
const CONTROLS = "input, select, textarea, [data-keys], .vae-panel";

function isForControl(event) {
  const pressed = [" ", "Enter"].includes(event.key) && event.target.closest("button, a, summary");
  return Boolean(event.target.closest(CONTROLS) || pressed);
}

// Esc gives the keys back to the deck.
window.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !event.target.closest?.(CONTROLS)) return;
  event.target.blur();
  event.stopPropagation();
}, true);

window.addEventListener("load", start);
