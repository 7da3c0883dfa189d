// Draws the figures when they come into view, makes the tables sort and filter, and follows light and dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");
let printing = false;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function template() {
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
  const clear = "rgba(0,0,0,0)";
  const layout = {
    paper_bgcolor: clear,
    plot_bgcolor: clear,
    font: { color: colour("--text"), family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 },
    xaxis: axis,
    yaxis: axis,
    hoverlabel: { bgcolor: colour("--page"), font: { color: colour("--text") } },
  };
  return { layout };
}

function figureOf(place) {
  let text = place.source;
  if (dark.matches && !printing)
    for (const [from, to] of Object.entries(ON_DARK)) text = text.replaceAll(from, to);
  const { data, layout } = JSON.parse(text);
  layout.template = template();
  layout.autosize = true;
  const lines = data.filter((trace) => trace.showlegend !== false && trace.name).length;
  if (layout.showlegend !== false && lines > 1) layout.height += (narrow.matches ? 22 : 8) * lines;
  return [data, layout];
}

function draw(place) {
  place.drawn = true;
  return Plotly.react(place, ...figureOf(place), { responsive: true, displaylogo: false, displayModeBar: false });
}

const places = [...document.querySelectorAll(".plot")];
for (const place of places) {
  place.source = place.querySelector("script").textContent;
  place.textContent = "";
}
const seen = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting && !entry.target.drawn).forEach((entry) => draw(entry.target)),
  { rootMargin: "400px" },
);
places.forEach((place) => seen.observe(place));

function redraw() {
  places.filter((place) => place.drawn).forEach(draw);
}
dark.addEventListener("change", redraw);
narrow.addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  printing = true;
  places.forEach(draw);
});
addEventListener("afterprint", () => {
  printing = false;
  redraw();
});

const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => String(text).replace(/[&<>"]/g, (letter) => ESCAPED[letter]);

// A cell is a text, or what is shown and what it is sorted by. Texts are always escaped: to filter, DataTables makes
// elements of what looks like HTML.
function render(cell, type) {
  if (!Array.isArray(cell)) return escaped(cell);
  return type === "sort" || type === "type" ? cell[1] : escaped(cell[0]);
}

const SHARES = { "●": "all", "◐": "some", "○": "none" };
function mark(td, cell) {
  td.className += ` ${SHARES[cell[0][0]] ?? "absent"}`;
}

const bundle = Uint8Array.from(atob(TABLES), (letter) => letter.charCodeAt(0));
const address = URL.createObjectURL(new Blob([bundle], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);
DataTable.ext.errMode = "none";
for (const table of document.querySelectorAll("table.sorted")) {
  const rows = JSON.parse(document.querySelector(`script[data-for="${table.id}"]`).textContent);
  const many = rows.length > 25;
  new DataTable(table, {
    data: rows,
    columns: [...table.dataset.numeric].map((numeric, k) => ({
      render,
      type: numeric === "1" ? "num" : "string",
      className: numeric === "1" ? "number" : "",
      ...(table.id === "grid" && k > 0 ? { createdCell: mark } : {}),
    })),
    order: [],
    autoWidth: false,
    deferRender: true,
    paging: many,
    pageLength: 25,
    layout: {
      topStart: many ? "pageLength" : null,
      topEnd: rows.length > 5 ? { search: { placeholder: "words in any column" } } : null,
      bottomStart: many ? "info" : null,
      bottomEnd: many ? "paging" : null,
    },
    language: { search: "Filter:", lengthMenu: "_MENU_ rows" },
  });
}
document.documentElement.dataset.ready = "yes";
