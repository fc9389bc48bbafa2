// The service map: a service that is pointed at, or has the focus, shows its calls alone.
"use strict";

(() => {
  const map = document.getElementById("map");
  if (!map) return;
  const calls = [...map.querySelectorAll(".call")];
  const nodes = new Map([...map.querySelectorAll(".node")].map((node) => [node.dataset.node, node]));

  const show = (at) => {
    map.classList.add("chosen");
    nodes.get(at).classList.add("near");
    for (const call of calls) {
      const { from, to } = call.dataset;
      if (from !== at && to !== at) continue;
      call.classList.add("near");
      nodes.get(from).classList.add("near");
      nodes.get(to).classList.add("near");
    }
  };
  const hide = () => {
    map.classList.remove("chosen");
    for (const near of map.querySelectorAll(".near")) near.classList.remove("near");
  };
  for (const [at, node] of nodes) {
    for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => { hide(); show(at); });
    for (const event of ["pointerleave", "blur"]) node.addEventListener(event, hide);
  }
})();
