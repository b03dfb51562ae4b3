// A Linux guest's tasks: filter, order, stacks that unfold; its messages by level.
function showStack(details) {
  if (details.children.length > 1) return;
  const lines = (data.stacks || [])[details.dataset.stack] || [];
  details.append(el('ol', {className: 'frames plain'}, ...lines.map(line => el('li', {textContent: line}))));
}
(() => {
  const table = $('#task-table'), filter = $('#task-filter');
  if (table) {
    const rows = $$('tbody tr', table);
    table.addEventListener('toggle', event => { if (event.target.open) showStack(event.target); }, true);
    const states = $$('button.state');
    function apply() {
      const words = filter.value.trim().toLowerCase();
      const wanted = states.filter(b => b.getAttribute('aria-pressed') === 'true').map(b => b.dataset.state);
      let shown = 0;
      for (const row of rows) {
        const there = (!words || row.textContent.toLowerCase().includes(words)) && (!wanted.length || wanted.includes(row.dataset.state));
        row.hidden = !there;
        shown += there;
      }
      $('#task-count').textContent = `${count(shown)} of ${count(rows.length)}`;
    }
    filter.addEventListener('input', apply);
    // A task that a finding names is shown whatever is filtered, with its stack.
    document.addEventListener('click', event => {
      const link = event.target.closest('.involved a'), row = link && document.getElementById(link.hash.slice(1));
      if (!row) return;
      row.hidden = false;
      $('details', row).open = true;
    });
    for (const button of states)
      button.onclick = () => { button.setAttribute('aria-pressed', String(button.getAttribute('aria-pressed') !== 'true')); apply(); };
    $$('thead th', table).forEach((head, column) => {
      const button = el('button', {type: 'button', className: 'order', textContent: head.textContent});
      head.replaceChildren(button);
      button.onclick = () => {
        const down = head.getAttribute('aria-sort') === 'ascending';
        $$('thead th', table).forEach(other => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const key = row => row.cells[column].firstChild?.tagName === 'DETAILS' ? $('summary', row).textContent : row.cells[column].textContent;
        rows.sort((a, b) => key(a).localeCompare(key(b), undefined, {numeric: true}) * (down ? -1 : 1));
        table.tBodies[0].append(...rows);
      };
    });
  }
  const level = $('#message-level');
  if (level)
    level.onchange = () => { for (const row of $$('#message-table tr')) row.hidden = Number(row.dataset.level) > Number(level.value); };
})();
