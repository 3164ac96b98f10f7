// Searches, narrows and sorts the rows that are on the page; its state is in the address, so a view can be passed on.
(() => {
  const form = document.getElementById("explore"), table = document.getElementById("items");
  if (!form || !table) return;
  const plain = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row, text: plain(row.querySelector(".item").textContent), keys: row.dataset.keys.split(" ").map(Number),
  }));
  const heads = [...table.querySelectorAll("th button")], said = document.getElementById("explored");
  const state = { q: "", show: "", sort: "0", down: "" };
  const show = () => {
    const wanted = plain(state.q);
    let count = 0;
    for (const one of rows) {
      const seen = one.text.includes(wanted) && (!state.show || one.row.classList.contains(state.show));
      one.row.hidden = !seen;
      count += seen;
    }
    const column = Number(state.sort), sign = state.down ? -1 : 1;
    const value = (one) => (Number.isNaN(one.keys[column]) ? Infinity : sign * one.keys[column]);
    const sorted = [...rows].sort((a, b) => value(a) - value(b) || a.keys[0] - b.keys[0]);
    table.tBodies[0].append(...sorted.map((one) => one.row));
    for (const head of heads) {
      const own = head.dataset.column === state.sort;
      head.parentElement.setAttribute("aria-sort", own ? (state.down ? "descending" : "ascending") : "none");
    }
    said.textContent = `${count} of ${rows.length} items`;
  };
  const read = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const key of Object.keys(state)) state[key] = given.get(key) ?? (key === "sort" ? "0" : "");
    if (!heads.some((head) => head.dataset.column === state.sort)) state.sort = "0";
    form.q.value = state.q;
    if (form.show) form.show.value = state.show;
    show();
  };
  const write = () => {
    const kept = Object.entries(state).filter(([key, value]) => value && !(key === "sort" && value === "0"));
    history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
    show();
  };
  form.addEventListener("input", () => {
    state.q = form.q.value;
    state.show = form.show ? form.show.value : "";
    write();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const head of heads)
    head.addEventListener("click", () => {
      state.down = state.sort === head.dataset.column && !state.down ? "1" : "";
      state.sort = head.dataset.column;
      write();
    });
  addEventListener("hashchange", read);
  read();
})();
