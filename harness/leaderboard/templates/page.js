
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const panel = document.getElementById("panel");

  const openPanel = (title, content) => {
    document.getElementById("panel-title").textContent = title;
    document.getElementById("panel-body").replaceChildren(content);
    panel.showModal();
  };

  const sortTable = (header, index, table) => {
    const numeric = header.dataset.sort === "number";
    const first = header.dataset.better === "higher" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const direction = header.getAttribute("aria-sort") === first ? second : first;
    const sign = direction === "ascending" ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[index];
      return numeric ? ("v" in cell.dataset ? Number(cell.dataset.v) : null) : cell.textContent.trim().toLowerCase();
    };
    const compare = (a, b) => {
      const [left, right] = [key(a), key(b)];
      if (left === null || right === null) return (left === null) - (right === null);
      return sign * (numeric ? left - right : left.localeCompare(right, "en"));
    };
    for (const other of all("thead th", table)) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", direction);
    table.tBodies[0].append(...[...table.rows].slice(1).sort(compare));
  };

  const visible = (cell) => cell.offsetParent !== null;
  const label = (cell) => {
    const main = cell.cloneNode(true);
    for (const mark of all(".why-mark", main)) mark.remove();
    for (const extra of all(".flag, .stamp", main)) extra.replaceWith(` (${extra.textContent})`);
    return main.textContent.replace(/[↕↑↓]/g, "").replace(/\s+/g, " ").trim();
  };
  // Network, backend and plan are copied even if a narrow screen shows them in one column.
  const copied = (cell, place) => place < 3 || visible(cell);
  const grid = (table) => [...table.rows].filter(visible).map((row) => [...row.cells].filter(copied).map(label));
  const latexCharacters = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--" };
  // In one pass, so that no character is escaped twice.
  const latex = (text) => text.replace(/[\\~^–&%$#_{}]/g, (c) => latexCharacters[c] ?? `\\${c}`);
  const formats = {
    csv: (rows) => rows.map((row) => row.map((text) => `"${(/^[=+\-@]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`).join(",")).join("\n"),
    markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map((text) => text.replace(/[|\\<]/g, "\\$&")).join(" | ")} |`).join("\n"),
    latex: ([head, ...rows]) => [`\\begin{tabular}{lll${"r".repeat(head.length - 3)}}`, "\\hline",
      `${head.map(latex).join(" & ")} \\\\`, "\\hline", ...rows.map((row) => `${row.map(latex).join(" & ")} \\\\`), "\\hline", "\\end{tabular}"].join("\n"),
  };
  const copy = async (button, text) => {
    try {
      await navigator.clipboard.writeText(text);
      const name = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = name; }, 1500);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.readOnly = true;
      area.setAttribute("aria-label", "Text to copy");
      openPanel("Select and copy", area);
      area.select();
    }
  };

  const setUpTable = (board) => {
    const table = board.querySelector("table.leaderboard");
    all("thead th", table).forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sortTable(header, index, table));
    });
    const text = board.querySelector(".filter-text");
    const backend = board.querySelector(".filter-backend");
    const plan = board.querySelector(".filter-plan");
    const filter = () => {
      let shown = 0;
      const wanted = text.value.trim().toLowerCase();
      for (const row of table.tBodies[0].rows) {
        const name = `${row.cells[0].textContent} ${row.dataset.network}`.toLowerCase();
        row.hidden = !(name.includes(wanted) && (!backend.value || row.dataset.backend === backend.value)
          && (!plan.value || row.dataset.plan === plan.value));
        shown += !row.hidden;
      }
      board.querySelector(".count").textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    };
    for (const control of [text, backend, plan]) control.addEventListener("input", filter);
    for (const button of all("[data-copy]", board)) {
      button.addEventListener("click", () => copy(button, formats[button.dataset.copy](grid(table))));
    }
    // A number opens the details of its row, as the row's name does for the keyboard.
    table.tBodies[0].addEventListener("click", (event) => {
      if (event.target.closest("a") || !event.target.closest("td.num")) return;
      event.target.closest("tr").querySelector("a.open-details")?.click();
    });
  };

  const setUpDetails = (board) => {
    for (const link of all("a.open-details", board)) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        const body = document.getElementById(link.hash.slice(1));
        const content = body.cloneNode(true);
        content.removeAttribute("id");
        openPanel(body.parentElement.querySelector("summary").textContent, content);
      });
    }
  };
  // A link within the page would scroll behind the open panel.
  panel.addEventListener("click", (event) => {
    if (event.target.closest('a[href^="#"]')) panel.close();
  });

  const setUpScanner = (board) => {
    const list = board.querySelector(".candidates");
    const limit = (name) => board.querySelector(`.limit-${name}`);
    const number = (input) => (input.value.trim() === "" || Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber);
    const choose = () => {
      const [deadline, memory, dice] = ["deadline", "memory", "dice"].map((name) => number(limit(name)));
      const set = limit("set").value;
      const key = `low${set[0].toUpperCase()}${set.slice(1)}`;
      const ask = (data, name, fails, unknown, told) => {
        if (!(name in data)) return [unknown];
        const value = Number(data[name]);
        return fails(value) ? [told(value)] : [];
      };
      let qualified = 0;
      for (const item of list.children) {
        const data = item.dataset;
        const why = data.out ? [data.out] : [
          ...(deadline === null ? [] : ask(data, "p90", (v) => v > deadline, data.p90Why, (v) => `it takes ${v.toFixed(1)} ms`)),
          ...(memory === null ? [] : ask(data, "memory", (v) => v > memory, "its memory is unknown", (v) => `it takes ${v.toFixed(0)} MiB`)),
          ...(dice === null ? [] : ask(data, key, (v) => v < dice, "its Dice has no confidence interval", (v) => `its Dice may be as low as ${v.toFixed(1)} %`)),
        ];
        item.className = why.length ? "refused" : "qualifies";
        item.querySelector(".why").textContent = why.length ? `does not qualify: ${why.join(" and ")}` : "qualifies";
        qualified += !why.length;
      }
      const rank = (item) => [item.className === "refused", Number(item.dataset.p90 ?? Infinity)];
      list.append(...[...list.children].sort((a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1]));
      const asked = [
        dice === null ? "" : ` Dice of at least ${dice} % on the ${set} set`,
        deadline === null ? "" : ` within ${deadline} ms`, memory === null ? "" : ` in ${memory} MiB`,
      ].join("");
      board.querySelector(".picker-count").textContent = `${qualified} of ${list.children.length} qualify${asked ? `:${asked}` : ""}.`;
    };
    const form = board.querySelector(".picker form");
    form.addEventListener("input", choose);
    form.addEventListener("submit", (event) => event.preventDefault());
  };

  const setUpHighlight = (board) => {
    const marks = all("[data-network]", board);
    const plots = board.querySelector(".plots");
    let shown = null;
    const light = (network) => {
      if (network === shown) return;
      shown = network;
      plots?.classList.toggle("spot", network !== null);
      for (const mark of marks) mark.classList.toggle("lit", mark.dataset.network === network);
    };
    const follow = (event) => light(event.target.closest("[data-network]")?.dataset.network ?? null);
    board.addEventListener("pointerover", follow);
    board.addEventListener("focusin", follow);
    board.addEventListener("pointerleave", () => light(null));
    board.addEventListener("focusout", () => light(null));
  };

  const boards = all(".board");
  const choice = document.getElementById("board-choice");
  const showBoard = (id) => { for (const board of boards) board.hidden = board.id !== id; };
  if (choice) {
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest(".board");
    if (named) choice.value = named.id;
    showBoard(choice.value);
    choice.addEventListener("input", () => showBoard(choice.value));
  }

  const theme = document.getElementById("theme");
  const themes = ["automatic", "light", "dark"];
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "automatic") + 1) % 3];
    if (next === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  });

  for (const element of all(".js")) element.hidden = false;
  for (const board of boards) {
    setUpTable(board);
    setUpDetails(board);
    setUpScanner(board);
    setUpHighlight(board);
  }
})();
