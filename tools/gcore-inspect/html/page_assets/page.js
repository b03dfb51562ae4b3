// Search, keys, theme, printing.
(() => {
  const box = $('#search'), results = $('#results');

  let texts = null;  // what is searched, once someone searches
  const collect = () => $$('main td, main thead th, main dd, main li, main h3, main .card p').filter(e => !e.closest('[id^=space-]'));
  function mark(element) {
    $$('.hit').forEach(e => e.classList.remove('hit'));
    for (let e = element; e; e = e.parentElement) { if (e.tagName === 'DETAILS') e.open = true; if (e.hidden) e.hidden = false; }
    element.classList.add('hit');
    element.scrollIntoView({block: 'center'});
  }
  function find(query) {
    const found = [], add = (text, go) => { if (found.length < 60) found.push({text, go}); };
    if (/^(0x)?[0-9a-f]{1,16}$/i.test(query) && (/^0x/i.test(query) || query.length >= 6)) {
      const address = BigInt(/^0x/i.test(query) ? query : '0x' + query), kind = map && map.kindAt(address);
      if (kind) add(`guest-physical ${hex(address)}: ${kind}`, () => map.go(address));
      const pages = [];
      spaces.forEach((space, n) => {
        const range = space.find(address);
        if (range < 0) return;
        add(`virtual, address space ${n}: ${space.rangeText(range)}`, () => space.go(range));
        const physical = space.physical(range, address), what = physical !== null && map && map.kindAt(physical);
        if (!what || pages.includes(physical)) return;
        pages.push(physical);
        add(`guest-physical ${hex(physical)}, where address space ${n} has ${hex(address)}: ${what}`, () => map.go(physical));
      });
    }
    const low = query.toLowerCase();
    (data.stacks || []).forEach((lines, n) => {
      const line = lines.find(text => text.toLowerCase().includes(low));
      const details = line && $(`details[data-stack="${n}"]`);
      if (details) add(`stack of ${details.closest('tr').cells[4].textContent}: ${line}`, () => { showStack(details); mark(details); });
    });
    for (const element of texts ??= collect()) {
      const text = element.textContent;
      if (!text.toLowerCase().includes(low)) continue;
      const line = element.closest('tr'), label = line && line.cells[0] !== element ? line.cells[0].textContent + '  ' : '';
      add((label + text).slice(0, 160), () => mark(element));
    }
    spaces.forEach((space, n) => space.space.ranges.forEach(range => {
      if (range[2] === low) add(`${range[2]} ${hex(range[0])} (address space ${n})`, () => space.go(space.find(BigInt(range[0]))));
    }));
    return found;
  }
  function search() {
    const query = box.value.trim();
    results.textContent = '';
    results.hidden = !query;
    if (!query) return;
    const found = find(query);
    for (const {text, go} of found)
      results.append(el('button', {type: 'button', textContent: text, onclick: () => { results.hidden = true; box.blur(); go(); }}));
    if (!found.length) results.append(el('div', {className: 'dim', textContent: 'nothing found'}));
  }
  box.addEventListener('input', search);
  box.addEventListener('focus', search);
  box.addEventListener('keydown', event => {
    if (event.key === 'Enter' || event.key === 'ArrowDown') {
      const first = $('button', results);
      if (first) { if (event.key === 'Enter') first.click(); else first.focus(); event.preventDefault(); }
    }
  });
  results.addEventListener('keydown', event => {
    const step = {ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling'}[event.key];
    if (!step) return;
    (document.activeElement[step] || box).focus();
    event.preventDefault();
  });
  document.addEventListener('click', event => { if (!event.target.closest('#results, #search')) results.hidden = true; });

  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') { results.hidden = true; tip.hide(); if (document.activeElement === box) box.blur(); }
    if (event.target.matches('input, textarea')) return;
    if (event.key === '/') { box.focus(); box.select(); event.preventDefault(); }
    if (event.key === 't') $('#theme').click();
    if (event.key === 'm' && map) { $('#map').focus(); $('#memory').scrollIntoView(); }
    if (event.key === '?') { const help = $('#keys'); help.hidden = !help.hidden; if (!help.hidden) help.scrollIntoView({block: 'center'}); }
  });

  $('#theme').onclick = () => setTheme(isDark() ? 'light' : 'dark');
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  addEventListener('resize', redraw);
  $$('details').forEach(details => details.addEventListener('toggle', redraw));
  const toggles = {differing: on => $$('table.regs').forEach(table => table.classList.toggle('only-differing', on)),
                   fpu: on => $$('tbody.fpu').forEach(body => { body.hidden = !on; })};
  for (const [name, apply] of Object.entries(toggles)) {
    const button = $('#toggle-' + name);
    if (!button) continue;
    button.onclick = () => {
      const on = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(on));
      apply(on);
    };
  }

  // Paper is white, and no wider than a few vCPUs: a wide table of registers is cut into blocks of columns.
  const kPaperWidth = 700, kPaperColumns = 6;
  function cutForPaper(table) {
    const columns = table.rows[0].cells.length - 1, blocks = [];
    for (let first = 1; first <= columns; first += kPaperColumns) {
      const block = table.cloneNode(false);
      for (const part of table.children) {
        if (part.hidden) continue;
        const copy = part.cloneNode(false);
        for (const row of part.rows) {
          const line = row.cloneNode(false);
          [...row.cells].forEach((cell, n) => { if (!n || (n >= first && n < first + kPaperColumns)) line.append(cell.cloneNode(true)); });
          copy.append(line);
        }
        block.append(copy);
      }
      blocks.push(block);
    }
    return el('div', {className: 'blocks'}, ...blocks);
  }
  let before = null;
  addEventListener('beforeprint', () => {
    before = {theme: document.documentElement.dataset.theme, wide: $$('table.regs').filter(table => table.rows[0].cells.length > kPaperColumns + 1)};
    before.blocks = before.wide.map(cutForPaper);
    before.wide.forEach((table, n) => { table.hidden = true; table.after(before.blocks[n]); });
    paperWidth = kPaperWidth;
    setTheme('light');
  });
  addEventListener('afterprint', () => {
    if (!before) return;
    before.blocks.forEach(block => block.remove());
    before.wide.forEach(table => { table.hidden = false; });
    paperWidth = 0;
    setTheme(before.theme);
    before = null;
  });

  drawers.forEach(draw => draw());
  document.documentElement.dataset.ready = 'yes';
})();
