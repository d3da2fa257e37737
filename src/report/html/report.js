
(() => {
  "use strict";
  const PAGE = 100;
  const PRINTED = 2000;
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const search = document.getElementById("search");
  const chips = Array.from(document.querySelectorAll("[data-show]"));
  const pages = document.getElementById("pages");
  const heads = Array.from(table.tHead.rows[0].cells);
  const number = new Intl.NumberFormat("en");
  let texts = null;
  let matching = rows;
  let page = 0;
  let sorted = { column: -1, down: false };

  const text = (row) => Array.from(row.cells, (cell) => cell.textContent).join("\n").toLowerCase();
  const show = () => {
    const last = Math.max(0, Math.ceil(matching.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    const from = page * PAGE;
    body.replaceChildren(...matching.slice(from, from + PAGE));
    const to = Math.min(from + PAGE, matching.length);
    const all = matching.length === rows.length ? "" : `, ${number.format(rows.length)} in all`;
    document.getElementById("shown").textContent = matching.length === 0
      ? `No row matches${all}`
      : `Rows ${number.format(from + 1)} to ${number.format(to)} of ${number.format(matching.length)}${all}`;
    document.getElementById("page").textContent = `${page + 1} / ${last + 1}`;
    pages.hidden = last === 0;
    for (const button of pages.querySelectorAll("button")) {
      const goesBack = button.dataset.go === "first" || button.dataset.go === "back";
      button.disabled = goesBack ? page === 0 : page === last;
    }
  };
  const select = () => {
    const wanted = new Set(chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.show));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length > 0 && texts === null) texts = new Map(rows.map((row) => [row, text(row)]));
    matching = rows.filter((row) =>
      (wanted.has("") || wanted.has(row.dataset.o) || (wanted.has("left") && "left" in row.dataset)) &&
      words.every((word) => texts.get(row).includes(word)));
    sort();
    page = 0;
    show();
  };
  const sort = () => {
    if (sorted.column < 0) return;
    const key = ({ cells: { [sorted.column]: cell } }) => cell.dataset.k ?? cell.textContent;
    const order = new Intl.Collator("en", { numeric: true });
    const keyed = matching.map((row) => [key(row), row]);
    // What has nothing in this column comes last, whichever way it is sorted.
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const by = order.compare(a, b);
      return sorted.down ? -by : by;
    });
    matching = keyed.map(([, row]) => row);
  };

  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      sorted = { column, down: sorted.column === column && !sorted.down };
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      sort();
      page = 0;
      show();
    });
  }
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      const all = chips.find((other) => other.dataset.show === "");
      if (chip === all) {
        for (const other of chips) other.ariaPressed = String(other === all);
      } else {
        chip.ariaPressed = String(chip.ariaPressed !== "true");
        all.ariaPressed = String(!chips.some((other) => other !== all && other.ariaPressed === "true"));
      }
      select();
    });
  }
  let pending = 0;
  search.addEventListener("input", () => {
    clearTimeout(pending);
    pending = setTimeout(select, 120);
  });
  pages.addEventListener("click", ({ target }) => {
    const go = target.dataset.go;
    if (!go) return;
    page = { first: 0, back: page - 1, on: page + 1, last: Infinity }[go];
    show();
    document.querySelector(".scroll.rows").scrollTop = 0;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== search && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      select();
    }
  });
  addEventListener("beforeprint", () => body.replaceChildren(...matching.slice(0, PRINTED)));
  addEventListener("afterprint", show);
  // A page that is loaded anew looks as it did before; where nothing can be kept, it begins anew.
  const place = `mde-cancel ${location.pathname}`;
  const scroll = document.querySelector(".scroll.rows");
  addEventListener("pagehide", () => {
    const pressed = chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.show);
    const state = { words: search.value, pressed, sorted, page, top: scroll.scrollTop, typing: document.activeElement === search };
    try { sessionStorage.setItem(place, JSON.stringify(state)); } catch { /* nothing is kept */ }
  });
  const restore = () => {
    let state = null;
    try { state = JSON.parse(sessionStorage.getItem(place)); } catch { /* nothing was kept */ }
    if (state === null) return;
    search.value = state.words;
    for (const chip of chips) chip.ariaPressed = String(state.pressed.includes(chip.dataset.show));
    if (!chips.some((chip) => chip.ariaPressed === "true")) chips[0].ariaPressed = "true";
    sorted = state.sorted;
    if (sorted.column >= 0) heads[sorted.column].setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    select();
    page = state.page;
    show();
    scroll.scrollTop = state.top;
    if (state.typing) search.focus({ preventScroll: true });
  };
  const renewed = document.querySelector("meta[name=renewed-every]");
  if (renewed) {
    const every = 1000 * Number(renewed.content);
    const written = Date.parse(document.getElementById("written").dateTime);
    document.getElementById("stale").hidden = Date.now() - written < 3 * every + 60000;
    setTimeout(() => location.reload(), every);
  }

  document.getElementById("tools").hidden = false;
  show();
  restore();
})();
