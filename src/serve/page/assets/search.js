// The search page: suggestions while typing, and a period chosen by dragging. Without it, the box and the bars work, too.
"use strict";

// The box is a combobox with a list of suggestions, as the ARIA pattern has it.
(() => {
  const box = document.getElementById("q");
  const list = document.getElementById("suggestions");
  const status = document.getElementById("suggestions-count");
  if (!box || !list) return;
  let chosen = -1;
  let all = [];
  let asked = 0;
  let waiting = 0;

  box.setAttribute("role", "combobox");
  box.setAttribute("aria-autocomplete", "list");
  box.setAttribute("aria-controls", list.id);
  box.setAttribute("aria-expanded", "false");

  const close = () => {
    asked += 1;
    clearTimeout(waiting);
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const choose = (at) => {
    chosen = at;
    [...list.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
    const item = list.children[at];
    if (!item) return box.removeAttribute("aria-activedescendant");
    box.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  };
  const take = (at) => {
    const after = box.value.slice(box.selectionEnd);
    const { text } = all[at];
    box.value = text + after.trimStart();
    box.setSelectionRange(text.length, text.length);
    box.focus();
    ask();
  };
  const show = (suggestions) => {
    all = suggestions;
    list.replaceChildren(...all.map(({ term, note }, at) => {
      const item = document.createElement("li");
      item.id = `suggestion-${at}`;
      item.setAttribute("role", "option");
      const name = document.createElement("bdi");
      name.textContent = term;
      const kind = document.createElement("span");
      kind.textContent = note;
      item.append(name, kind);
      // The box keeps the focus.
      item.addEventListener("mousedown", (event) => event.preventDefault());
      item.addEventListener("click", () => take(at));
      return item;
    }));
    list.hidden = all.length === 0;
    box.setAttribute("aria-expanded", String(all.length > 0));
    status.textContent = all.length ? `${all.length} suggestions` : "";
    choose(-1);
  };
  const ask = () => {
    const number = ++asked;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      try {
        const typed = box.value.slice(0, box.selectionEnd);
        const answer = await fetch(`/api/suggest?q=${encodeURIComponent(typed)}`);
        if (answer.ok && number === asked) show(await answer.json());
      } catch { /* Without an answer there are no suggestions. */ }
    }, 80);
  };

  box.addEventListener("input", ask);
  box.addEventListener("blur", close);
  box.addEventListener("click", () => { if (list.hidden) ask(); });
  box.addEventListener("keydown", (event) => {
    const count = list.hidden ? 0 : all.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!count) return ask();
      const down = event.key === "ArrowDown";
      return choose(down ? (chosen + 2) % (count + 1) - 1 : (chosen + count + 1) % (count + 1) - 1);
    }
    if (event.key === "Escape" && count) {
      event.preventDefault();
      return close();
    }
    if ((event.key === "Enter" || event.key === "Tab") && count && chosen >= 0) {
      event.preventDefault();
      take(chosen);
    }
  });
})();

// The histogram: one stop for the keyboard with arrows from bar to bar; the mouse chooses a period.
(() => {
  const bars = document.querySelector(".bars");
  if (!bars) return;
  const links = [...bars.querySelectorAll("a")];
  links.forEach((link, at) => link.setAttribute("tabindex", at === links.length - 1 ? "0" : "-1"));
  bars.addEventListener("keydown", (event) => {
    const at = links.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined || !links[to]) return;
    event.preventDefault();
    links[at].setAttribute("tabindex", "-1");
    links[to].setAttribute("tabindex", "0");
    links[to].focus();
  });

  const { basis, first, last } = bars.dataset;
  const [begin, end] = [Number(first), Number(last)];
  let from = null;
  let area = null;
  let moved = false;
  const place = (event) => {
    const box = bars.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  const release = () => {
    if (area) area.remove();
    from = null;
    area = null;
  };
  bars.classList.add("draggable");
  bars.addEventListener("dragstart", (event) => event.preventDefault());
  bars.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    from = place(event);
    moved = false;
  });
  addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = place(event);
    if (!moved && Math.abs(to - from) * bars.clientWidth < 4) return;
    moved = true;
    if (!area) {
      area = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      area.setAttribute("class", "chosen");
      area.setAttribute("height", "100");
      bars.append(area);
    }
    area.setAttribute("x", String(Math.min(from, to) * 1000));
    area.setAttribute("width", String(Math.abs(to - from) * 1000));
  });
  addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [left, right] = [from, place(event)].sort((one, other) => one - other);
    release();
    if (!moved) return;
    const time = (share) => new Date(Math.round(begin + share * (end - begin))).toISOString();
    const text = `${basis} since:${time(left)} until:${time(right)}`.trim();
    location.assign(`/?q=${encodeURIComponent(text)}`);
  });
  addEventListener("pointercancel", release);
  // What ends a drag is no click on a bar.
  bars.addEventListener("click", (event) => {
    if (moved) event.preventDefault();
    moved = false;
  }, true);
})();
