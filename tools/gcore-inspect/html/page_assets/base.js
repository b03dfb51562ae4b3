'use strict';
// What all parts of the page share. The data comes from a dump, so it only ever becomes text, never markup.
const $ = (selector, inside = document) => inside.querySelector(selector);
const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const data = JSON.parse($('#data').textContent);
const kPage = 4096n;

function el(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const hex = n => '0x' + BigInt(n).toString(16).padStart(16, '0');
// Not toLocaleString(): its first call alone takes as long as drawing all pages of memory.
const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
function size(n) {
  let value = Number(n), unit = 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  while (value >= 1024 && unit < 6) { value /= 1024; ++unit; }
  return (unit ? value.toFixed(value < 10 ? 1 : 0) : value) + ' ' + units[unit];
}
const clamp = (n, low, high) => Math.max(low, Math.min(high, n));
function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const digits = text.length === 4 ? [...text.slice(1)].map(d => d + d).join('') : text.slice(1, 7);
  return [0, 2, 4].map(i => parseInt(digits.slice(i, i + 2), 16) || 0);
}

const tip = {
  show(text, event) {
    const box = $('#tip');
    box.textContent = text;
    box.hidden = false;
    const {width, height} = box.getBoundingClientRect();
    box.style.left = clamp(event.clientX + 14, 4, innerWidth - width - 4) + 'px';
    box.style.top = (event.clientY + 20 + height > innerHeight ? Math.max(4, event.clientY - height - 12)
                                                               : event.clientY + 20) + 'px';
  },
  hide() { $('#tip').hidden = true; },
};

// Whoever draws on a canvas is drawn anew when the theme or the width changes.
const drawers = [];
let queued = false;
function redraw() {
  if (queued) return;
  queued = true;
  tip.hide();  // what is under the pointer is another thing then
  requestAnimationFrame(() => { queued = false; drawers.forEach(draw => draw()); });
}
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  drawers.forEach(draw => draw());
}
const isDark = () => (document.documentElement.dataset.theme ||
                      (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';

// On paper a picture is as wide as the page, whatever the window was: 0 on the screen, else CSS pixels.
let paperWidth = 0;
const roomOf = canvas => paperWidth || Math.floor(canvas.parentElement.clientWidth);

/// A canvas as sharp as the screen or the paper; drawing is in CSS pixels.
function prepare(canvas, height) {
  const width = Math.max(200, roomOf(canvas)), scale = paperWidth ? 3 : devicePixelRatio || 1;
  canvas.style.height = paperWidth ? 'auto' : height + 'px';
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return {context, width, height};
}

/// What wheel, drag, click, touch and keys mean for a picture that shows a part of a line. `view` has zoom(factor, at),
/// pan(by) in screens, home(), move(dx, dy), pick(x, y), enter(), describe(x, y).
function control(canvas, view) {
  let drag = null;
  const spot = event => { const r = canvas.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
  canvas.addEventListener('wheel', event => {
    // Only a picture that was chosen takes the wheel: others must not stop who scrolls the page.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    view.zoom(event.deltaY < 0 ? 2 : 0.5, spot(event));
  }, {passive: false});
  canvas.addEventListener('pointerdown', event => { drag = {from: spot(event), moved: false}; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener('pointermove', event => {
    const [x, y] = spot(event);
    if (drag && (drag.moved || Math.hypot(x - drag.from[0], y - drag.from[1]) > 5)) {
      drag.moved = true;
      if (view.pan(drag.from, [x, y])) drag.from = [x, y];
      return tip.hide();
    }
    const text = view.describe(x, y);
    if (text) tip.show(text, event); else tip.hide();
  });
  canvas.addEventListener('pointerup', event => { if (drag && !drag.moved) view.pick(...spot(event)); drag = null; });
  canvas.addEventListener('pointerleave', () => tip.hide());
  canvas.addEventListener('pointercancel', () => { drag = null; });
  canvas.addEventListener('dblclick', event => view.zoom(4, spot(event)));
  canvas.addEventListener('keydown', event => {
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -8], PageDown: [0, 8]};
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) view.move(...moves[event.key]);
    else if (event.key === '+' || event.key === '=') view.zoom(2);
    else if (event.key === '-') view.zoom(0.5);
    else if (event.key === 'Enter') view.enter();
    else if (event.key === 'Escape' || event.key === 'Home') view.home();
    else return;
    event.preventDefault();
  });
}
