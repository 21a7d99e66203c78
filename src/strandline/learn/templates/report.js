"use strict";
// Two conveniences; the page says everything without them.
(function () {
  document.documentElement.classList.add("js");
  var data = JSON.parse(document.getElementById("grids").textContent);
  var slider = document.getElementById("threshold");
  var choice = document.getElementById("of-label");
  var curves = ["pr-line", "roc-line", "precision-line", "recall-line"].map(function (id) {
    var line = document.getElementById(id);
    return { line: line, pooled: line.getAttribute("points") };
  });
  function percent(value) {
    return value === null ? "–" : (100 * value).toFixed(1) + "%";
  }
  function ratio(part, rest) {
    return part + rest > 0 ? part / (part + rest) : null;
  }
  function rates(grid, at) {
    var tp = grid.tp[at], fp = grid.fp[at], fn = grid.fn[at], tn = grid.tn[at];
    return {
      tp: tp, fp: fp, fn: fn, tn: tn, precision: ratio(tp, fp), recall: ratio(tp, fn),
      fpr: ratio(fp, tn), f1: ratio(2 * tp, fp + fn)
    };
  }
  function place(svg, x, y) {
    var box = svg.dataset;
    return [
      Number(box.left) + Number(box.width) * x, Number(box.top) + Number(box.height) * (1 - y)
    ];
  }
  function mark(id, x, y) {
    var dot = document.getElementById(id);
    dot.style.visibility = x === null || y === null ? "hidden" : "visible";
    if (x === null || y === null) return;
    var at = place(dot.ownerSVGElement, x, y);
    dot.setAttribute("cx", at[0]);
    dot.setAttribute("cy", at[1]);
  }
  function redraw(each, points) {
    each.line.setAttribute("points", points.filter(function (point) {
      return point[0] !== null && point[1] !== null;
    }).map(function (point) {
      return place(each.line.ownerSVGElement, point[0], point[1]).join(",");
    }).join(" "));
  }
  function drawCurves() {
    var of = Number(choice.value);
    if (of < 0) {
      curves.forEach(function (each) { each.line.setAttribute("points", each.pooled); });
      return;
    }
    var all = data.thresholds.map(function (_, at) { return rates(data.labels[of], at); });
    redraw(curves[0], all.map(function (r) { return [r.recall, r.precision]; }).reverse());
    redraw(curves[1], all.map(function (r) { return [r.fpr, r.recall]; }).reverse());
    redraw(curves[2], all.map(function (r, at) { return [data.thresholds[at], r.precision]; }));
    redraw(curves[3], all.map(function (r, at) { return [data.thresholds[at], r.recall]; }));
  }
  function show() {
    var at = Number(slider.value), of = Number(choice.value);
    var threshold = data.thresholds[at];
    var r = rates(of < 0 ? data.all : data.labels[of], at);
    slider.setAttribute("aria-valuetext", "threshold " + threshold);
    document.getElementById("at-threshold").textContent =
      "At threshold " + threshold + ": precision " + percent(r.precision) + ", recall " +
      percent(r.recall) + ", F1 " + percent(r.f1) + ", false positive rate " + percent(r.fpr) +
      ". " + r.tp + " right and " + r.fp + " wrong answers, " + r.fn + " missed, " + r.tn +
      " rightly not given.";
    mark("pr-point", r.recall, r.precision);
    mark("roc-point", r.fpr, r.recall);
    mark("precision-point", threshold, r.precision);
    mark("recall-point", threshold, r.recall);
  }
  slider.addEventListener("input", show);
  choice.addEventListener("change", function () { drawCurves(); show(); });
  show();

  function key(row, column) {
    var cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach(function (each) { each.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        var rows = Array.from(table.tBodies[0].rows);
        rows.sort(function (one, two) {
          var a = key(one, column), b = key(two, column);
          var order = typeof a === "number" ? a - b : a.localeCompare(b);
          return up ? order : -order;
        });
        rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
      });
    });
  });
})();
