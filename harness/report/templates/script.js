"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const said = document.getElementById("said");
  const say = (text) => { if (said) said.textContent = text; };

  const value = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.classList.contains("num") ? null : cell.textContent.trim().toLowerCase();
  };
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);

  const sort = (head) => {
    const index = head.cellIndex, body = head.closest("table").tBodies[0];
    const first = head.dataset.better === "higher" ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const to = head.getAttribute("aria-sort") === first ? other : first;
    all("th[aria-sort]", head.parentElement).forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", to);
    const sign = to === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => [value(row, index), row]);
    keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * order(a, b))); // missing ones last
    body.append(...keyed.map(([, row]) => row));
    say(`sorted by ${head.querySelector("button").textContent.trim()}, ${to}`);
  };
  all(".board thead button").forEach((button) => button.addEventListener("click", () => sort(button.closest("th"))));

  const filter = document.getElementById("filter");
  filter?.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    const rows = all(".board tbody tr");
    for (const row of rows) {
      const text = row.dataset.find.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    all(".group").forEach((group) => { group.hidden = !all("tbody tr", group).some((row) => !row.hidden); });
    say(words.length ? `${shown} of ${rows.length} rows` : "");
  });

  document.getElementById("columns")?.addEventListener("change", ({ target }) => {
    for (const head of all(".board thead th")) {
      if (head.dataset.column !== target.value) continue;
      for (const row of head.closest("table").rows) row.cells[head.cellIndex].hidden = !target.checked;
    }
  });

  const theme = document.getElementById("theme"), themes = ["auto", "light", "dark"];
  theme?.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme.dataset.now || "auto") + 1) % 3];
    theme.dataset.now = next;
    theme.querySelector("span").textContent = next;
    theme.setAttribute("aria-label", `Theme: ${next === "auto" ? "as the system has it" : next}`);
    document.documentElement.style.colorScheme = next === "auto" ? "light dark" : next;
  });

  // a sheet is built when it is first opened: thousands of drawings would hold up the table
  all("details.sheet").forEach((sheet) => sheet.addEventListener("toggle", () => {
    all(":scope > template", sheet).forEach((kept) => kept.replaceWith(kept.content));
  }));

  const open = () => {
    const sheet = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (sheet && sheet.tagName === "DETAILS") { sheet.open = true; sheet.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all(".menu[open]").forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
    if (event.key === "/" && filter && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); filter.focus(); }
  });
  document.addEventListener("click", ({ target }) => all(".menu[open]").forEach((menu) => { menu.open = menu.contains(target); }));

  all(".copy").forEach((button) => button.addEventListener("click", () => {
    const text = button.closest("details").querySelector("pre");
    getSelection().selectAllChildren(text);
    button.textContent = document.execCommand("copy") ? "Copied" : "Select and copy";
  }));
})();
