// A trace: spans drawn as they are scrolled to, opened in place, walked through by keys; values copied.
"use strict";

document.documentElement.classList.add("scripted");

// Copying: the value beside the button, or where it is cut the whole of it.
document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element && event.target.closest("button.copy");
  if (!button) return;
  const value = button.closest(".copyable").querySelector(".value");
  const whole = value.dataset.whole || value.querySelector("[data-whole]")?.dataset.whole;
  const text = whole ? await (await fetch(whole)).text() : value.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard but this.
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

// The details of a span, beside what leads to them; the address follows.
const details = (() => {
  const panel = document.getElementById("span");
  if (!panel) return null;
  let before = null;
  const shown = () => new URLSearchParams(location.search).get("span");
  const address = (key) => {
    const url = new URL(location.href);
    url.hash = "";
    if (key) url.searchParams.set("span", key); else url.searchParams.delete("span");
    return url;
  };
  const draw = async (key) => {
    document.dispatchEvent(new CustomEvent("span", { detail: key }));
    if (!key) {
      panel.hidden = true;
      panel.replaceChildren();
      return;
    }
    const answer = await fetch(`${panel.dataset.spans}${encodeURIComponent(key)}${address(null).search}`);
    if (!answer.ok) return location.assign(address(key));
    const markup = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Another one may have been opened meanwhile.
    if (shown() !== key) return;
    panel.replaceChildren(...markup.body.childNodes);
    panel.scrollTop = 0;
    panel.hidden = false;
  };
  const open = async (key) => {
    if (panel.hidden) before = document.activeElement;
    history.pushState(null, "", address(key));
    await draw(key);
  };
  const close = () => {
    if (panel.hidden) return;
    history.pushState(null, "", address(null));
    draw(null);
    if (before?.isConnected) before.focus({ preventScroll: true });
  };
  panel.addEventListener("click", (event) => {
    if (!event.target.closest("a.close") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (event.target.id === "q") event.target.blur(); else close();
  });
  addEventListener("popstate", () => draw(shown()));
  return { open, close, shown };
})();

const waterfall = document.getElementById("waterfall");
if (waterfall) drawWaterfall(waterfall, document.getElementById("row").content.firstElementChild);

function drawWaterfall(grid, blank) {
  const FAILED = 1, ORPHAN = 2, BYSTANDER = 4;
  // As the server draws it.
  const INDENT = 14, HEIGHT = 28, MAX_DEPTH = 20;
  // Fewer rows are drawn all at once, so that the browser finds text in them; more of them as they are scrolled to.
  const ALL = 500, MARGIN = 20;
  const CLOSED = 100;
  const place = grid.querySelector(".rows");
  const closed = new Set((new URLSearchParams(location.search).get("closed") || "").split("-").filter(Boolean));
  const drawn = new Map();
  let data = null, visible = [], active = 0, selected = details.shown(), height = HEIGHT, address = "";

  const units = [[1e3, "ns", 1], [1e6, "µs", 1e3], [1e9, "ms", 1e6], [6e10, "s", 1e9]];
  const duration = (ns) => {
    const unit = units.find(([below]) => ns < below);
    if (!unit) {
      const s = Math.floor(ns / 1e9);
      return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    }
    const value = ns / unit[2];
    return `${unit[2] === 1 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit[1]}`;
  };
  const percent = (ns, least = 0) => `${Math.min(100, Math.max(least, (ns * 100) / Math.max(1, data.took))).toFixed(3)}%`;
  // Nothing is drawn of what has no width, not even its edge.
  const width = (ns) => percent(ns, 0.01);

  // The rows that are not below a closed one, with the lines that lead to them.
  const arrange = () => {
    visible = [];
    let hidden = Infinity;
    for (let at = 0; at < data.rows.length; at += 1) {
      const [key, depth] = data.rows[at];
      if (depth > hidden) continue;
      const hasChildren = at + 1 < data.rows.length && data.rows[at + 1][1] > depth;
      const open = hasChildren ? !closed.has(key) : null;
      hidden = open === false ? depth : Infinity;
      visible.push({ at, open, rails: 0 });
    }
    let below = 0;
    for (let at = visible.length - 1; at >= 0; at -= 1) {
      const own = 1 << Math.min(data.rows[visible[at].at][1], MAX_DEPTH);
      below &= own | (own - 1);
      visible[at].rails = below;
      below |= own;
    }
    grid.setAttribute("aria-rowcount", visible.length + 1);
  };

  const rails = (svg, bits, depth) => {
    let path = "";
    for (let level = 1; level <= depth; level += 1) if ((bits >> level) & 1) path += `M${(level - 1) * INDENT + 9} 0v${HEIGHT}`;
    if (depth > 0) path += `M${(depth - 1) * INDENT + 9} 0v${HEIGHT / 2}h7`;
    svg.setAttribute("width", depth * INDENT);
    svg.setAttribute("viewBox", `0 0 ${depth * INDENT} ${HEIGHT}`);
    svg.firstElementChild.setAttribute("d", path);
  };

  const row = (index) => {
    const { at, open, rails: bits } = visible[index];
    const [key, depth, service, name, start, took, flags, critical, why] = data.rows[at];
    const [of, hue] = data.services[service];
    const element = blank.cloneNode(true);
    const find = (selector) => element.querySelector(selector);
    element.id = `row-${index}`;
    element.dataset.index = index;
    element.classList.add(hue);
    element.classList.toggle("failed", Boolean(flags & FAILED));
    element.classList.toggle("bystander", Boolean(flags & BYSTANDER));
    element.classList.toggle("active", index === active);
    element.setAttribute("aria-rowindex", index + 2);
    element.setAttribute("aria-level", depth + 1);
    element.setAttribute("aria-selected", key === selected);
    if (open !== null) element.setAttribute("aria-expanded", open);
    rails(find(".rails"), bits, Math.min(depth, MAX_DEPTH));
    const toggle = find(".toggle");
    if (open === null) toggle.replaceChildren();
    toggle.setAttribute("aria-hidden", "true");
    find(".open").href = `${address}${key}`;
    if (!(flags & FAILED)) find(".sign:not(.orphan)").remove();
    if (!(flags & ORPHAN)) find(".orphan").remove();
    find(".of").textContent = of;
    find(".operation").textContent = data.names[name];
    if (why) find(".why").textContent = why; else find(".why").remove();
    const [whole, part] = find(".bars").children;
    whole.setAttribute("x", percent(start));
    whole.setAttribute("width", width(took));
    for (let each = 0; each < critical.length; each += 2) {
      const bar = part.cloneNode();
      bar.setAttribute("x", percent(critical[each]));
      bar.setAttribute("width", width(critical[each + 1]));
      part.before(bar);
    }
    part.remove();
    find(".when > .visually-hidden").textContent = `after ${duration(start)}`;
    find(".took").textContent = duration(took);
    element.style.top = `${index * height}px`;
    return element;
  };

  // Draws what is near the window, and takes away what is not.
  const draw = () => {
    let from = 0, to = visible.length;
    if (visible.length > ALL) {
      const above = -place.getBoundingClientRect().top;
      from = Math.max(0, Math.floor(above / height) - MARGIN);
      to = Math.min(visible.length, Math.ceil((above + innerHeight) / height) + MARGIN);
    }
    for (const [index, element] of drawn) {
      if (index >= from && index < to) continue;
      element.remove();
      drawn.delete(index);
    }
    const added = document.createDocumentFragment();
    const add = (index) => {
      if (drawn.has(index)) return;
      const element = row(index);
      drawn.set(index, element);
      added.append(element);
    };
    for (let index = from; index < to; index += 1) add(index);
    // What a screen reader is told of has to be there.
    if (active < visible.length) add(active);
    place.append(added);
    grid.setAttribute("aria-activedescendant", `row-${active}`);
  };

  const redraw = () => {
    for (const element of drawn.values()) element.remove();
    drawn.clear();
    place.style.height = `${visible.length * height}px`;
    // Of a span's link: its key comes last.
    const url = new URL(location.href);
    url.searchParams.delete("span");
    url.searchParams.append("span", "");
    address = `${url.pathname}${url.search}`;
    draw();
  };

  const move = (index) => {
    drawn.get(active)?.classList.remove("active");
    active = Math.min(Math.max(index, 0), visible.length - 1);
    // Below what stays at the top of the window, above what covers its end.
    const top = place.getBoundingClientRect().top + active * height;
    const panel = document.getElementById("span");
    const covered = !panel.hidden && getComputedStyle(panel).position === "fixed" ? panel.offsetHeight : 0;
    const [least, most] = [48 + grid.querySelector(".heads").offsetHeight, innerHeight - covered - height - 8];
    if (top < least) scrollBy({ top: top - least, behavior: "instant" });
    else if (top > most) scrollBy({ top: top - most, behavior: "instant" });
    draw();
    drawn.get(active).classList.add("active");
  };

  const key = (index) => data.rows[visible[index].at][0];
  const depth = (index) => data.rows[visible[index].at][1];
  const parent = (index) => {
    for (let at = index - 1; at >= 0; at -= 1) if (depth(at) < depth(index)) return at;
    return index;
  };

  // The closed rows are in the address, so far as they fit.
  const remember = () => {
    const url = new URL(location.href);
    url.searchParams.delete("page");
    if (closed.size > 0 && closed.size <= CLOSED) url.searchParams.set("closed", [...closed].join("-"));
    else url.searchParams.delete("closed");
    history.replaceState(null, "", url);
  };
  const toggle = (index) => {
    const it = key(index);
    if (!closed.delete(it)) closed.add(it);
    remember();
    arrange();
    redraw();
    move(index);
  };

  const keys = {
    ArrowDown: () => move(active + 1),
    ArrowUp: () => move(active - 1),
    PageDown: () => move(active + Math.floor(innerHeight / height) - 4),
    PageUp: () => move(active - Math.floor(innerHeight / height) + 4),
    Home: () => move(0),
    End: () => move(visible.length - 1),
    ArrowLeft: () => (visible[active].open ? toggle(active) : move(parent(active))),
    ArrowRight: () => {
      if (visible[active].open === false) toggle(active);
      else if (visible[active].open) move(active + 1);
    },
    Enter: () => details.open(key(active)),
    " ": () => details.open(key(active)),
  };

  const start = () => {
    // The keys are the grid's: its rows are no stops of their own.
    grid.tabIndex = 0;
    place.classList.add("drawn");
    for (const element of document.querySelectorAll(".pages")) element.remove();
    place.replaceChildren();
    arrange();
    const chosen = visible.findIndex(({ at }) => data.rows[at][0] === selected);
    active = Math.max(chosen, 0);
    const measure = () => {
      const probe = place.appendChild(blank.cloneNode(true));
      height = probe.offsetHeight || HEIGHT;
      probe.remove();
    };
    measure();
    redraw();
    if (chosen >= 0) move(chosen);
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting || visible.length <= ALL) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    }, { passive: true });
    addEventListener("resize", () => { measure(); redraw(); });
    grid.addEventListener("keydown", (event) => {
      if (event.target !== grid || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    grid.addEventListener("click", (event) => {
      const all = event.target.closest("button[data-open]");
      if (all) {
        closed.clear();
        const parents = data.rows.filter(([, own], at) => at + 1 < data.rows.length && data.rows[at + 1][1] > own);
        // The first level stays in sight.
        if (all.dataset.open === "none") for (const [it, own] of parents) if (own > 0 || data.rows.length === 1) closed.add(it);
        remember();
        arrange();
        redraw();
        move(0);
        return;
      }
      const element = event.target.closest(".span[data-index]");
      if (!element || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const index = Number(element.dataset.index);
      grid.focus({ preventScroll: true });
      if (event.target.closest(".toggle") && visible[index].open !== null) return toggle(index);
      move(index);
      details.open(key(index));
    });
    document.addEventListener("span", ({ detail }) => {
      selected = detail;
      for (const [index, element] of drawn) element.setAttribute("aria-selected", key(index) === selected);
    });
  };

  fetch(grid.dataset.rows)
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText))))
    .then((rows) => {
      data = rows;
      start();
    })
    .catch((error) => console.warn("The rows stay as the page came:", error));
}

// The flame graph: one stop for the tab key, and arrows between its blocks.
const flame = document.getElementById("flame");
if (flame) {
  const blocks = [...flame.querySelectorAll("a")];
  const box = (block) => block.querySelector("svg").getBoundingClientRect();
  const row = (block) => Number(block.dataset.row);
  const current = () => blocks.find((block) => block.tabIndex === 0);
  const choose = (block) => {
    if (!block) return;
    current()?.setAttribute("tabindex", "-1");
    block.setAttribute("tabindex", "0");
    block.focus();
  };
  for (const [at, block] of blocks.entries()) block.setAttribute("tabindex", at === 0 ? "0" : "-1");
  // Of the row above or below, the first block that is over or under this one.
  const near = (block, step) => {
    const here = box(block);
    return blocks.find((other) => {
      const there = box(other);
      return row(other) === row(block) + step && there.left < here.right - 0.5 && there.right > here.left + 0.5;
    });
  };
  const beside = (block, step) => {
    const same = blocks.filter((other) => row(other) === row(block));
    return same[same.indexOf(block) + step];
  };
  flame.addEventListener("keydown", (event) => {
    const block = event.target.closest("a");
    const to = { ArrowUp: () => near(block, -1), ArrowDown: () => near(block, 1), ArrowLeft: () => beside(block, -1), ArrowRight: () => beside(block, 1) }[event.key];
    if (!block || !to) return;
    event.preventDefault();
    choose(to());
  });
}
