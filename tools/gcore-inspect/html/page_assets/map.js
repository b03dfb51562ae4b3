// Guest-physical memory as a picture: a cell a page (or 2^n pages), row by row; memory that is far away is moved near.
const map = (() => {
  const source = data.map;
  if (!source) return null;
  const canvas = $('#map'), kMostHeight = 420, kAxis = 132;
  const cells = decode(source.runs, source.cells);
  const first = source.stretches.map(s => s.cell);
  const lit = source.kinds.map(() => true);
  const state = {start: 0, span: cells.length, cursor: -1};
  let grid = null;

  function decode(text, total) {
    const bytes = atob(text), into = new Uint8Array(total);
    for (let i = 0, at = 0; i < bytes.length;) {
      const value = bytes.charCodeAt(i++);
      let length = 0, shift = 1;
      for (;;) { const b = bytes.charCodeAt(i++); length += (b & 127) * shift; shift *= 128; if (b < 128) break; }
      if (length === 1) into[at++] = value;
      else into.fill(value, at, at += length);
    }
    return into;
  }

  // A few pages of these kinds among many others must not fade away in the mixed colour of a square.
  const heavy = {differs: 16, missing: 16, 'only-a': 4, 'only-b': 4, 'page-table': 8, code: 2};
  const weights = source.kinds.map(kind => heavy[kind.id] || 1);
  const pagesPerCell = 2 ** source.shift;
  function stretchOf(cell) {
    let low = 0, high = first.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (first[middle] <= cell) low = middle; else high = middle - 1; }
    return source.stretches[low];
  }
  function addressOf(cell) {
    const s = stretchOf(cell);
    return (BigInt(s.page) + (s.gap ? 0n : BigInt((cell - s.cell) * pagesPerCell))) * kPage;
  }
  function cellOf(address) {
    const page = address / kPage;
    for (const s of source.stretches) {
      if (page < BigInt(s.page) || page >= BigInt(s.page) + BigInt(s.pages)) continue;
      return s.gap ? s.cell : s.cell + Math.floor(Number(page - BigInt(s.page)) / pagesPerCell);
    }
    return -1;
  }

  // The largest square whose grid has room for `span` cells; else several cells a square of two pixels.
  function layOut(width, height, span) {
    const room = width - kAxis;
    for (const box of [32, 24, 20, 16, 12, 10, 8, 6, 5, 4, 3, 2]) {
      const step = box >= 16 ? 4 : 8, rows = Math.max(1, Math.floor(height / box));
      const columns = Math.max(step, Math.floor(room / box / step) * step);
      if (columns * rows >= span || box === 2)
        return {box, columns, rows, per: Math.max(1, Math.ceil(span / (columns * rows)))};
    }
    return null;
  }

  function draw() {
    if (!roomOf(canvas)) return;
    // As high as all of memory needs, so that zooming does not move the page.
    const all = layOut(roomOf(canvas), kMostHeight, cells.length);
    const used = all.box * Math.min(all.rows, Math.ceil(cells.length / (all.columns * all.per)));
    const {context, width, height} = prepare(canvas, Math.max(used, 48));
    grid = layOut(width, height, state.span);
    const {box, columns, rows, per} = grid;
    state.start = clamp(Math.floor(state.start / per) * per, 0, Math.max(0, cells.length - 1));
    const palette = source.kinds.map(kind => colour('--k-' + kind.id)), ground = colour('--panel');
    // What a cell of each kind adds to the mixed colour of its square, and how much it counts there.
    const reds = new Int32Array(16), greens = new Int32Array(16), blues = new Int32Array(16), counts = new Int32Array(16);
    source.kinds.forEach((_, kind) => {
      const weight = lit[kind] ? weights[kind] : 1, [r, g, b] = lit[kind] ? palette[kind] : ground;
      reds[kind] = r * weight; greens[kind] = g * weight; blues[kind] = b * weight; counts[kind] = weight;
    });
    const image = new ImageData(columns, rows), pixels = image.data, total = cells.length;
    for (let n = 0, cell = state.start; n < columns * rows && cell < total; ++n, cell += per) {
      let r = 0, g = 0, b = 0, sum = 0;
      for (let i = cell, end = Math.min(cell + per, total); i < end; ++i) {
        const kind = cells[i] & 15;
        r += reds[kind]; g += greens[kind]; b += blues[kind]; sum += counts[kind];
      }
      pixels[n * 4] = r / sum; pixels[n * 4 + 1] = g / sum; pixels[n * 4 + 2] = b / sum; pixels[n * 4 + 3] = 255;
    }
    const picture = document.createElement('canvas');
    picture.width = columns; picture.height = rows;
    picture.getContext('2d').putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, kAxis, 0, columns * box, rows * box);
    if (box >= 8) {
      context.strokeStyle = isDark() ? '#14171b' : '#fff';
      context.lineWidth = box >= 16 ? 1 : .5;
      context.beginPath();
      for (let i = 0; i <= columns; ++i) { context.moveTo(kAxis + i * box, 0); context.lineTo(kAxis + i * box, rows * box); }
      for (let i = 0; i <= rows; ++i) { context.moveTo(kAxis, i * box); context.lineTo(kAxis + columns * box, i * box); }
      context.stroke();
    }
    axis(context, height);
    const place = (state.cursor - state.start) / per;
    if (state.cursor >= 0 && place >= 0 && place < columns * rows) {
      context.strokeStyle = isDark() ? '#fff' : '#000';
      context.lineWidth = 2;
      const n = Math.floor(place), edge = Math.max(box, 7);
      context.strokeRect(kAxis + n % columns * box + (box - edge) / 2, Math.floor(n / columns) * box + (box - edge) / 2, edge, edge);
    }
    const last = Math.min(cells.length, state.start + columns * rows * per) - 1;
    $('#map-where').textContent = `${hex(addressOf(state.start))} \u2013 ${hex(addressOf(last) + kPage * BigInt(pagesPerCell) - 1n)}, ` +
      (per * pagesPerCell === 1 ? 'one square is one page' : `one square is ${count(per * pagesPerCell)} pages`);
  }

  function axis(context, height) {
    const {box, columns, rows, per} = grid, [r, g, b] = colour('--dim');
    context.fillStyle = `rgb(${r},${g},${b})`;
    context.font = '11px ui-monospace, "DejaVu Sans Mono", monospace';
    context.textBaseline = 'top';
    const step = Math.max(1, Math.ceil(28 / box));
    for (let row = 0; row < rows && row * box < height - 10; row += step) {
      const cell = state.start + row * columns * per;
      if (cell >= cells.length) break;
      context.fillText(hex(addressOf(cell)), 6, row * box + 1);
    }
  }

  function cellAt(x, y) {
    if (!grid || x < kAxis) return -1;
    const column = Math.floor((x - kAxis) / grid.box), row = Math.floor(y / grid.box);
    if (column < 0 || column >= grid.columns || row < 0 || row >= grid.rows) return -1;
    const cell = state.start + (row * grid.columns + column) * grid.per;
    return cell < cells.length ? cell : -1;
  }

  function describe(cell, per) {
    const s = stretchOf(cell);
    if (s.gap) return `${hex(addressOf(cell))}\n${size(BigInt(s.pages) * kPage)} without memory, drawn short`;
    const address = addressOf(cell), tally = new Map();
    for (let i = cell; i < Math.min(cell + per, cells.length); ++i) tally.set(cells[i] & 15, (tally.get(cells[i] & 15) || 0) + 1);
    const lines = [];
    if (per * pagesPerCell === 1) {
      const kind = source.kinds[cells[cell] & 15];
      lines.push(hex(address), `${kind.name}: ${kind.about}`);
      if (source.entropy && (cells[cell] >> 4) > 0) lines.push(`entropy: about ${((cells[cell] >> 4) / 2 + .25).toFixed(1)} bits a byte`);
    } else {
      lines.push(`${hex(address)} \u2013 ${hex(addressOf(Math.min(cell + per, cells.length) - 1) + BigInt(pagesPerCell) * kPage - 1n)}`);
      for (const [kind, n] of [...tally].sort((a, b) => b[1] - a[1]))
        lines.push(`${source.kinds[kind].name}: ${count(n * pagesPerCell)} page${n * pagesPerCell === 1 ? '' : 's'}`);
    }
    for (const [name, virtual] of mappedAt(address)) lines.push(`mapped at ${hex(virtual)} (${name})`);
    return lines.join('\n');
  }

  // Each contiguous part of each range: [page, pages, address space, range, bytes from the range's start]; made when first asked for.
  let parts = null;
  function collectParts() {
    parts = [];
    (data.spaces || []).forEach((space, n) => space.ranges.forEach(range => {
      const place = range[4];
      if (typeof place === 'string') parts.push([Number(BigInt(place) / kPage), Number((BigInt(range[1]) + kPage - 1n) / kPage), n, range, 0]);
      for (let i = 0, at = 0; Array.isArray(place) && i < place.length; i += 2) {
        parts.push([place[i], place[i + 1], n, range, at]);
        at += place[i + 1];
      }
    }));
  }
  function mappedAt(address) {
    if (!parts) collectParts();
    const page = Number(address / kPage), found = [];
    for (const [first, pages, space, [start, , permissions, , , , count], before] of parts) {
      if (page < first || page >= first + pages || found.length === 4) continue;
      found.push([`${permissions}, address space ${space}${count ? `, ${count} times` : ''}`, BigInt(start) + BigInt(before + page - first) * kPage]);
    }
    return found;
  }

  // In the comparison of two dumps: what differs in the first page that does, of those that the page has bytes of.
  function difference(cell, per) {
    const first = Number(addressOf(cell) / kPage), end = first + per * pagesPerCell;
    const one = (data.differing || []).find(([page]) => page >= first && page < end);
    if (!one) return '';
    const [page, bytes, offset, a, b] = one, address = BigInt(page) * kPage;
    return `\n${per * pagesPerCell === 1 ? '' : `in ${hex(address)}: `}${count(bytes)} byte${bytes === 1 ? '' : 's'} differ${bytes === 1 ? 's' : ''}, ` +
      `the first at ${hex(address + BigInt(offset))}\nA  ${a}\nB  ${b}`;
  }
  const quoted = path => `'${path.replaceAll("'", "'\\''")}'`;
  /// What shows the page in a terminal.
  function command(address) {
    const {path, other} = $('#data').dataset, read = file => `gcore-inspect ${quoted(file)} --read ${hex(address)}:4K --phys`;
    return other ? `diff <(${read(path)}) <(${read(other)})` : path ? read(path) : '';
  }

  function select(cell) {
    if (cell < 0) return;
    state.cursor = cell;
    const detail = $('#map-detail'), address = addressOf(cell), per = grid ? grid.per : 1, shown = command(address);
    detail.textContent = '';
    detail.classList.add('chosen');
    detail.append(el('div', {className: 'm pre', textContent: describe(cell, per) + difference(cell, per)}));
    const segment = (data.segments || []).find(s => address >= BigInt(s[0]) && address < BigInt(s[0]) + BigInt(s[1]));
    if (segment) detail.append(el('div', {className: 'dim', textContent: `in the file at ${hex(BigInt(segment[2]) + address - BigInt(segment[0]))}`}));
    if (shown) detail.append(el('code', {className: 'dim', textContent: shown}));
    redraw();
  }

  function show(start, span) {
    state.span = clamp(Math.round(span), Math.min(64, cells.length), cells.length);
    state.start = clamp(Math.round(start), 0, Math.max(0, cells.length - state.span));
    redraw();
  }

  const view = {
    zoom(factor, spot) {
      const under = spot ? cellAt(...spot) : state.cursor;
      const anchor = under >= 0 ? under : state.start + state.span / 2;
      const span = clamp(state.span / factor, Math.min(64, cells.length), cells.length);
      show(anchor - (anchor - state.start) * (span / state.span), span);
    },
    pan(from, to) {
      const rows = Math.round((from[1] - to[1]) / grid.box);
      if (rows) show(state.start + rows * grid.columns * grid.per, state.span);
      return rows !== 0;
    },
    home() { show(0, cells.length); },
    move(dx, dy) {
      if (!grid) return;
      const {columns, rows, per} = grid;
      const cell = clamp((state.cursor < 0 ? state.start : state.cursor) + (dx + dy * columns) * per, 0, cells.length - 1);
      const page = columns * rows * per;
      if (cell < state.start || cell >= state.start + page) show(cell - page / 2, state.span);
      select(cell);
    },
    pick(x, y) { canvas.focus({preventScroll: true}); select(cellAt(x, y)); },
    enter() { view.zoom(4); },
    describe(x, y) { const cell = cellAt(x, y); return cell < 0 ? '' : describe(cell, grid.per); },
  };
  control(canvas, view);
  $('#map-in').onclick = () => view.zoom(2);
  $('#map-out').onclick = () => view.zoom(0.5);
  $('#map-all').onclick = () => view.home();
  $$('[data-kind]').forEach(button => {
    button.onclick = () => {
      const kind = Number(button.dataset.kind), alone = lit[kind] && lit.filter(Boolean).length === 1;
      const all = lit.every(Boolean);
      lit.forEach((_, i) => { lit[i] = alone ? true : all ? i === kind : i === kind ? !lit[i] : lit[i]; });
      if (!lit.some(Boolean)) lit.fill(true);
      $$('[data-kind]').forEach(b => b.setAttribute('aria-pressed', String(!lit.every(Boolean) && lit[Number(b.dataset.kind)])));
      redraw();
    };
  });
  drawers.push(draw);
  return {
    state, cells, lit,
    get grid() { return grid; },
    /// Zooms to a guest-physical address. False: no memory there.
    go(address) {
      const cell = cellOf(address);
      if (cell < 0) return false;
      show(cell - 512, 1024);
      draw();
      select(cell);
      $('#memory').scrollIntoView();
      return true;
    },
    kindAt(address) { const cell = cellOf(address); return cell < 0 ? '' : source.kinds[cells[cell] & 15].name; },
  };
})();
