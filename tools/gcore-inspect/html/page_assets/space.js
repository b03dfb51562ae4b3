// Virtual address spaces: a strip each, in which wider ranges are larger (logarithmic) and a gap is a notch; and a
// table of the ranges.
// A range is [address, size, permissions, page size, place, in the dump] and, of memory that is mapped again and again, how often and
// how far from start to start. The place is the guest-physical address; of a scattered range pages, each with how many follow, or null.
const lastOf = ([start, bytes, , , , , times, stride]) => BigInt(start) + BigInt(bytes) - 1n + (times ? BigInt(times - 1) * BigInt(stride) : 0n);
/// How far a virtual address is from the start of the range, or of its repetition; null: it is not in it.
function within([start, bytes, , , , , times, stride], address) {
  let offset = address - BigInt(start);
  if (offset < 0n || (times && offset / BigInt(stride) >= BigInt(times))) return null;
  if (times) offset %= BigInt(stride);
  return offset < BigInt(bytes) ? offset : null;
}
/// The guest-physical address of a virtual one in the range; null: this page does not know.
function physicalOf(range, address) {
  const offset = within(range, address), place = range[4];
  if (offset === null || place === null) return null;
  if (typeof place === 'string') return BigInt(place) + offset;
  let page = Number(offset / kPage);
  for (let i = 0; i < place.length; page -= place[i + 1], i += 2)
    if (page < place[i + 1]) return BigInt(place[i] + page) * kPage + offset % kPage;
  return null;
}
const spaces = (data.spaces || []).map((space, number) => {
  const root = $('#space-' + number), canvas = $('canvas', root), body = $('.list tbody', root), kHeight = 90, kRows = 100;
  const kGap = 1.2;
  const boxes = [];
  let end = 0n, at = 0;
  space.ranges.forEach((range, index) => {
    const start = BigInt(range[0]), bytes = BigInt(range[1]);
    if (start > end || !index) { boxes.push({from: at, to: at + kGap, gap: [end, start]}); at += kGap; }
    const weight = 1 + Math.log2(Math.max(1, Number(bytes) / 4096));
    boxes.push({from: at, to: at + weight, range, index});
    at += weight;
    end = lastOf(range) + 1n;
  });
  const state = {start: 0, span: at || 1, cursor: -1}, total = at || 1;
  let width = 1, shown = 0;
  const name = permissions => '--p-' + (permissions[0] + (permissions[1] === 'w' ? 'w' : '') + (permissions[2] === 'x' ? 'x' : ''));

  function draw() {
    if (!roomOf(canvas) || !boxes.length) return;
    const drawing = prepare(canvas, kHeight), context = drawing.context;
    width = drawing.width;
    const scale = width / state.span, cache = new Map();
    const paint = variable => { if (!cache.has(variable)) cache.set(variable, `rgb(${colour(variable).join()})`); return cache.get(variable); };
    boxes.forEach((box, n) => {
      const x = (box.from - state.start) * scale, w = (box.to - box.from) * scale;
      if (x + w < 0 || x > width || box.gap) return;
      const permissions = box.range[2];
      context.fillStyle = paint(name(permissions));
      // What user mode may see is high, what only the kernel may see is low.
      const top = permissions[3] === 'u' ? 6 : 30;
      context.fillRect(x, top, Math.max(w - (w > 4 ? 1 : 0), .7), 40);
      if (n === state.cursor) { context.strokeStyle = paint('--fg'); context.lineWidth = 2; context.strokeRect(x - 1, top - 2, Math.max(w, 3) + 2, 44); }
    });
    context.fillStyle = paint('--dim');
    context.font = '11px ui-monospace, "DejaVu Sans Mono", monospace';
    let free = 0;
    boxes.forEach(box => {
      const x = (box.from - state.start) * scale;
      if (box.gap || x < free || x < 0 || x > width - 130) return;
      context.fillText(hex(box.range[0]), x, kHeight - 6);
      free = x + 150;
    });
  }

  const boxAt = x => {
    const place = state.start + x / width * state.span;
    let low = 0, high = boxes.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (boxes[middle].to > place) high = middle; else low = middle + 1; }
    return boxes.length ? low : -1;
  };
  const sizeText = ([, bytes, , , , , times, stride]) => times ? `${count(times)} times ${size(bytes)}, every ${size(stride)}` : size(bytes);
  const inDump = {all: '', part: ', partly in the dump', none: ', not in the dump'};
  function describe(n) {
    if (n < 0) return '';
    const box = boxes[n];
    if (box.gap) return `${size(box.gap[1] - box.gap[0])} not mapped`;
    const [start, , permissions, page, physical, presence] = box.range;
    return `${hex(start)} \u2013 ${hex(lastOf(box.range))}\n${sizeText(box.range)}, ${permissions}, ${page ? page + ' pages' : 'paging is off'}${inDump[presence]}\n` +
      (typeof physical === 'string' ? `guest-physical ${hex(physical)}` : 'scattered in guest-physical memory');
  }
  function row(range, index) {
    const [start, , permissions, page, physical, presence] = range;
    const to = typeof physical === 'string' ? hex(physical) : 'scattered';
    const line = el('tr', {}, ...[hex(start), hex(lastOf(range)), sizeText(range), permissions, page || '-', to,
                                  presence === 'all' ? '' : presence === 'part' ? 'partly' : 'not in the dump']
                        .map(text => el('td', {textContent: text})));
    line.dataset.range = index;
    return line;
  }
  function more(rows) {
    const next = Math.min(space.ranges.length, shown + rows), part = document.createDocumentFragment();
    for (; shown < next; ++shown) part.append(row(space.ranges[shown], shown));
    body.append(part);
    const button = $('.more', root);
    button.hidden = shown === space.ranges.length;
    button.textContent = `show ${count(space.ranges.length - shown)} more ranges`;
  }
  $('.more', root).onclick = () => more(Infinity);
  function select(n, scroll) {
    if (n < 0 || !boxes[n] || boxes[n].gap) return;
    state.cursor = n;
    if (boxes[n].index >= shown) more(boxes[n].index - shown + kRows);
    $$('tr.hit', root).forEach(line => line.classList.remove('hit'));
    const line = $(`[data-range="${boxes[n].index}"]`, root);
    $('details', root).open = true;
    line.classList.add('hit');
    // The list scrolls by itself, so that the strip stays in sight.
    const list = $('.list', root), detail = $('.detail', root);
    list.scrollTop = line.offsetTop - list.clientHeight / 2;
    if (scroll) $('.map', root).scrollIntoView({block: 'start'});
    detail.classList.add('chosen', 'm');
    detail.textContent = describe(n).replaceAll('\n', '; ');
    redraw();
  }
  function show(start, span) {
    state.span = clamp(span, Math.min(8, total), total);
    state.start = clamp(start, 0, total - state.span);
    redraw();
  }
  const view = {
    zoom(factor, spot) {
      const share = spot ? spot[0] / width : 0.5, anchor = state.start + share * state.span, span = clamp(state.span / factor, Math.min(8, total), total);
      show(anchor - share * span, span);
    },
    pan(from, to) { show(state.start + (from[0] - to[0]) / width * state.span, state.span); return true; },
    home() { show(0, total); },
    move(dx, dy) {
      let n = state.cursor;
      const step = dx || dy;
      do n += Math.sign(step); while (boxes[n] && boxes[n].gap);
      if (!boxes[n]) return;
      if (boxes[n].from < state.start || boxes[n].to > state.start + state.span) show(boxes[n].from - state.span / 2, state.span);
      select(n, false);
    },
    pick(x) { canvas.focus({preventScroll: true}); select(boxAt(x), false); },
    enter() { if (boxes[state.cursor]) show(boxes[state.cursor].from - state.span / 8, state.span / 4); },
    describe(x) { return describe(boxAt(x)); },
  };
  control(canvas, view);
  // The list is closed at first: its rows are made for whoever opens it, or prints it.
  const fill = () => { if (!shown) more(kRows); };
  $('details', root).addEventListener('toggle', fill);
  drawers.push(draw);
  return {
    state, space, fill,
    find(address) { return boxes.findIndex(b => !b.gap && within(b.range, address) !== null); },
    physical: (n, address) => physicalOf(boxes[n].range, address),
    rangeText: n => describe(n).replaceAll('\n', '; '),
    go(n) {
      const span = Math.min(state.span, 200);
      show(boxes[n].from - span / 4, span);
      select(n, true);
    },
  };
});
