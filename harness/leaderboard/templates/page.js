
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const panel = document.getElementById("panel");
  const boards = all(".board");

  const openPanel = (title, content) => {
    document.getElementById("panel-title").textContent = title;
    document.getElementById("panel-body").replaceChildren(content);
    panel.showModal();
  };

  // What is chosen stands in the address, so that a link shows it again.
  const state = new URLSearchParams(location.search);
  const keep = () => {
    const board = boards.find((one) => !one.hidden);
    const found = new URLSearchParams();
    if (boards.length > 1) found.set("board", board.id);
    for (const [name, selector] of [["filter", ".filter-text"], ["backend", ".filter-backend"], ["plan", ".filter-plan"]]) {
      const { value } = board.querySelector(selector);
      if (value) found.set(name, value);
    }
    const boxes = all(".chooser input", board);
    if (boxes.some((box) => box.checked !== box.defaultChecked)) found.set("columns", boxes.filter((box) => box.checked).map((box) => box.dataset.key).join(","));
    const sorted = board.querySelector('.leaderboard th[aria-sort$="scending"]');
    if (sorted) found.set("sort", `${sorted.dataset.key} ${sorted.getAttribute("aria-sort")}`);
    const query = `${found}`;
    try {
      history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}${location.hash}`);
    } catch { /* A browser may refuse it for a file. */ }
  };
  const restore = (board, table, filter) => {
    for (const [name, selector] of [["filter", ".filter-text"], ["backend", ".filter-backend"], ["plan", ".filter-plan"]]) {
      const control = board.querySelector(selector);
      control.value = state.get(name) ?? "";
      if (control.selectedIndex === -1) control.value = "";
    }
    const columns = state.get("columns")?.split(",");
    if (columns) for (const box of all(".chooser input", board)) box.checked = columns.includes(box.dataset.key);
    const [key, direction] = (state.get("sort") ?? "").split(" ");
    const header = all("thead th", table).find((one) => one.dataset.key === key);
    for (let turns = 0; header && turns < 2 && header.getAttribute("aria-sort") !== direction; turns += 1) header.querySelector("button").click();
    if (["filter", "backend", "plan"].some((name) => state.get(name))) filter();
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
    const line = (body) => body.rows[0];
    table.append(...[...table.tBodies].sort((a, b) => compare(line(a), line(b))));
  };

  const visible = (cell) => cell.offsetParent !== null;
  const label = (cell) => {
    const main = cell.cloneNode(true);
    for (const mark of all(".why-mark, .more", main)) mark.remove();
    for (const extra of all(".flag, .stamp", main)) extra.replaceWith(` (${extra.textContent})`);
    return main.textContent.replace(/[↕↑↓]/g, "").replace(/\s+/g, " ").trim();
  };
  // Network and plan are copied even if a narrow screen shows them in one column.
  const copied = (cell, place) => place < 2 || visible(cell);
  // In CSV a number is a number, and its interval and remarks are left to leaderboard.csv.
  const plainly = (cell) => cell.dataset.v ?? (cell.matches("td.num") ? "" : label(cell));
  const grid = (table, text) => [...table.rows].filter(visible).map((row) => [...row.cells].filter(copied).map(text));
  const latexCharacters = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--" };
  // In one pass, so that no character is escaped twice.
  const latex = (text) => text.replace(/[\\~^–&%$#_{}]/g, (c) => latexCharacters[c] ?? `\\${c}`);
  const formats = {
    csv: (rows) => rows.map((row) => row.map((text) => (text !== "" && Number.isFinite(Number(text)) ? text : `"${(/^[=+\-@]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`)).join(",")).join("\n"),
    markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map((text) => text.replace(/[|\\<]/g, "\\$&")).join(" | ")} |`).join("\n"),
    latex: ([head, ...rows]) => [`\\begin{tabular}{ll${"r".repeat(head.length - 2)}}`, "\\hline",
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
      button.addEventListener("click", () => { sortTable(header, index, table); keep(); });
    });
    const text = board.querySelector(".filter-text");
    const backend = board.querySelector(".filter-backend");
    const plan = board.querySelector(".filter-plan");
    const filter = () => {
      const words = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (row) => {
        const name = `${row.querySelector("a, th").textContent} ${row.dataset.network} ${row.cells[1].textContent} ${row.dataset.plan}`.toLowerCase();
        return words.every((word) => name.includes(word)) && (!backend.value || row.dataset.backend === backend.value)
          && (!plan.value || row.dataset.plan === plan.value);
      };
      const [any, bodies] = [words.length || backend.value || plan.value, [...table.tBodies]];
      let [shown, builds] = [0, 0];
      for (const body of bodies) {
        const [line, ...others] = body.rows;
        for (const row of others) row.hidden = Boolean(any) && !fits(row);
        const found = others.length ? others.filter((row) => !row.hidden).length : Number(fits(line));
        body.hidden = found === 0;
        // A line whose best plan is not asked for stands above the build that is.
        body.classList.toggle("found", Boolean(any) && found > 0 && !fits(line));
        shown += found > 0;
        builds += found;
      }
      board.querySelector(".count").textContent = `${shown} of ${bodies.length} networks, ${builds} builds`;
      keep();
    };
    const openAll = board.querySelector(".open-builds");
    openAll.addEventListener("click", () => {
      const more = all("details.more", table);
      const open = more.some((one) => !one.open);
      for (const one of more) one.open = open;
      openAll.textContent = open ? "Close all builds" : "Open all builds";
    });
    for (const control of [text, backend, plan]) control.addEventListener("input", filter);
    for (const button of all("[data-copy]", board)) {
      button.addEventListener("click", () => copy(button, formats[button.dataset.copy](grid(table, button.dataset.copy === "csv" ? plainly : label))));
    }
    // A number opens the details of its row, as the row's name does for the keyboard.
    table.addEventListener("click", (event) => {
      if (event.target.closest("a, details") || !event.target.closest("td.num")) return;
      event.target.closest("tr").querySelector("a.open-details")?.click();
    });
    for (const box of all(".chooser input", board)) box.addEventListener("change", keep);
    if (boards.length === 1 || state.get("board") === board.id) restore(board, table, filter);
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
    const [chosen, rest] = [board.querySelector(".chosen"), board.querySelector(".rest")];
    const limit = (name) => board.querySelector(`.limit-${name}`);
    const number = (input) => (input.value.trim() === "" || Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber);
    const choose = () => {
      const inputs = ["deadline", "memory", "dice", "alarms"].map(limit);
      const wrong = inputs.filter((input) => !input.validity.valid);
      const error = board.querySelector(".limit-error");
      for (const input of inputs) input.toggleAttribute("aria-invalid", wrong.includes(input));
      error.textContent = wrong.length ? `${wrong.map((input) => input.parentElement.firstChild.textContent.trim()).join(" and ")}: a limit is a number from 0${wrong.some((input) => input.max) ? " to 100 (per cent)" : ""}; the list below is for the limits before.` : "";
      if (wrong.length) return;
      const [deadline, memory, dice, alarms] = inputs.map(number);
      const set = limit("set").value;
      const of = (name) => `${name}${set[0].toUpperCase()}${set.slice(1)}`;
      const ask = (data, name, fails, [unknown, unknownKind], [told, kind]) => {
        if (!(name in data)) return [[unknown, unknownKind]];
        const value = Number(data[name]);
        return fails(value) ? [[told(value), kind]] : [];
      };
      const [kinds, items] = [new Map(), [...chosen.children, ...rest.children]];
      for (const item of items) {
        const data = item.dataset;
        const why = data.out ? [[data.out, "without a result"]] : [
          ...(deadline === null ? [] : ask(data, "p90", (v) => v > deadline, [data.p90Why, "of unknown latency"], [(v) => `it takes ${v.toFixed(1)} ms`, "too slow"])),
          ...(memory === null ? [] : ask(data, "memory", (v) => v > memory, ["its memory was not measured", "of unknown memory"], [(v) => `it needs ${v.toFixed(0)} MiB`, "too large"])),
          ...(dice === null ? [] : ask(data, of("low"), (v) => v < dice, ["its Dice has no confidence interval", "without an interval of Dice"], [(v) => `the interval of its mean Dice begins at ${v.toFixed(1)} %`, "with too low or too uncertain a Dice"])),
          ...(alarms === null ? [] : ask(data, of("alarms"), (v) => v > alarms, ["its false alarms are unknown", "of unknown false alarms"], [(v) => `it marks brain in ${v.toFixed(0)} % of empty slices`, "of too many false alarms"])),
        ];
        item.className = why.length ? "refused" : "qualifies";
        item.querySelector(".why").textContent = why.length ? `does not qualify: ${why.map(([text]) => text).join(" and ")}` : "qualifies";
        for (const [, kind] of why) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      }
      const p90 = (item) => Number(item.dataset.p90 ?? Infinity);
      const name = (item) => item.firstElementChild.textContent;
      const sorted = items.sort((a, b) => (p90(a) === p90(b) ? 0 : p90(a) - p90(b)) || name(a).localeCompare(name(b), "en"));
      const [fit, unfit] = [sorted.filter((item) => item.className === "qualifies"), sorted.filter((item) => item.className === "refused")];
      const networks = new Map();
      for (const item of fit) networks.set(item.dataset.network, [...(networks.get(item.dataset.network) ?? []), item]);
      for (const [first, ...others] of networks.values()) {
        for (const other of others) other.classList.add("second");
        if (others.length) first.querySelector(".why").textContent += `, and ${others.length} other build${others.length > 1 ? "s" : ""} of it`;
      }
      chosen.replaceChildren(...fit);
      rest.replaceChildren(...unfit);
      const counted = [...kinds].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${count} ${kind}`).join(", ");
      board.querySelector(".refusals summary").textContent = `${unfit.length} builds do not qualify${counted ? `: ${counted}` : ""}`;
      const asked = [
        dice === null ? "" : ` Dice of at least ${dice} % on the ${set} set`,
        deadline === null ? "" : ` within ${deadline} ms`, memory === null ? "" : ` in ${memory} MiB`,
        alarms === null ? "" : ` with brain in at most ${alarms} % of empty slices`,
      ].join("");
      board.querySelector(".picker-count").textContent = `${networks.size} of ${all("tbody.network", board).length} networks qualify${asked ? `:${asked}` : ""}.`;
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

  const choice = document.getElementById("board-choice");
  const showBoard = (id) => { for (const board of boards) board.hidden = board.id !== id; };
  if (choice) {
    if (boards.some((board) => board.id === state.get("board"))) choice.value = state.get("board");
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest(".board");
    if (named) choice.value = named.id;
    showBoard(choice.value);
    choice.addEventListener("input", () => { showBoard(choice.value); keep(); });
  }

  const theme = document.getElementById("theme");
  const themes = ["automatic", "light", "dark"];
  const setTheme = (next) => {
    if (next === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  };
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "automatic") + 1) % 3];
    setTheme(next);
    try { localStorage.setItem("fetalbench-theme", next); } catch { /* A browser may refuse to store. */ }
  });
  try {
    const kept = localStorage.getItem("fetalbench-theme");
    if (themes.includes(kept)) setTheme(kept);
  } catch { /* As above. */ }

  for (const element of all(".js")) element.hidden = false;
  for (const board of boards) {
    setUpTable(board);
    setUpDetails(board);
    setUpScanner(board);
    setUpHighlight(board);
  }
})();
