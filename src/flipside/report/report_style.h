#pragma once

namespace flipside {

/// The style sheet of `run_report`: one column on a phone, wider on a screen, plain on paper.
constexpr char kReportStyle[] = R"(
:root { --ink: #1d2733; --soft: #64707d; --line: #e3e7eb; --ground: #f6f7f9; --mark: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 64px; color: var(--ink);
  background: #fff; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
h1 { font-size: 28px; font-weight: 650; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 22px; margin: 48px 0 12px; padding-top: 20px; border-top: 2px solid var(--ink);
  overflow-wrap: anywhere; }
h3 { font-size: 18px; margin: 40px 0 8px; }
h4 { font-size: 14px; margin: 20px 0 6px; }
p { margin: 6px 0; max-width: 75ch; }
a { color: var(--mark); }
code, pre { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
pre { margin: 10px 0; padding: 10px 12px; background: var(--ground); border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.note, .scale { color: var(--soft); font-size: 14px; }
.scale img { width: 160px; height: 10px; margin: 0 4px; vertical-align: -1px;
  outline: 1px solid var(--line); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 12px 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 12px 0; }
.tiles div { flex: 1 1 130px; padding: 12px 14px; background: var(--ground); border-radius: 8px; }
.tiles b { display: block; font-size: 26px; font-weight: 600; line-height: 1.2; }
.tiles span { color: var(--soft); font-size: 13px; }
.blocks { display: flex; flex-wrap: wrap; gap: 0 40px; }
.blocks > div { max-width: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 500; }
th:first-child { text-align: left; padding-left: 0; }
th[scope=col] { color: var(--soft); white-space: normal; overflow-wrap: break-word;
  min-width: 70px; max-width: 180px; vertical-align: bottom; }
figure { margin: 0; }
.row { display: flex; gap: 8px; padding: 10px 0; border-bottom: 1px solid var(--line); break-inside: avoid; }
.row img { display: block; width: 100%; height: auto; border-radius: 4px;
  image-rendering: pixelated; }
.row div { flex: 0 0 160px; }
.row div span { color: var(--soft); font-size: 12px; }
.row figcaption { display: flex; flex-direction: column; align-items: flex-start; gap: 1px; padding-left: 8px; font-size: 13px; line-height: 1.4; }
.row code { overflow-wrap: anywhere; margin-bottom: 4px; }
.row b { margin-top: 4px; padding: 0 8px; border-radius: 9px; font-size: 12px; font-weight: 600; }
.bad { color: #8f2d00; background: #fbe3d6; }
.weak { color: #6b5200; background: #faeec8; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 20px; }
.plot { break-inside: avoid; }
.plot svg { display: block; width: 100%; height: auto; }
.plot figcaption { font-size: 12px; color: var(--soft); padding-left: 14%; }
.key { margin-right: 12px; white-space: nowrap; }
.key i { display: inline-block; width: 14px; height: 3px; margin-right: 5px;
  vertical-align: middle; }
details { margin-top: 32px; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 900px) {
  body { padding: 16px 16px 48px; }
  .row { flex-wrap: wrap; }
  .row div { flex: 0 0 calc(20% - 7px); }
  .row figcaption { flex: 0 0 100%; flex-flow: row wrap; gap: 0 12px; padding: 0; }
  .row code { width: 100%; margin: 0; }
  .row b { margin-top: 0; }
  th, td { padding: 4px 8px; }
  th:first-child { position: sticky; left: 0; min-width: 110px; background: #fff;
    white-space: normal; }
  .facts { font-size: 14px; column-gap: 10px; }
}
@media (max-width: 560px) {
  .row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .row:has(> div:nth-child(4):nth-last-child(2)) { grid-template-columns: repeat(2, 1fr); }
  .row figcaption { grid-column: 1 / -1; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .row { display: flex; flex-wrap: nowrap; }
  .row div { flex: 0 0 14.5%; }
  .row figcaption { flex: 1; flex-flow: column; font-size: 10px; }
  .row code { font-size: 10px; }
  .plots { grid-template-columns: repeat(3, 1fr); }
  section + section h2 { break-before: page; }
  h3, h4, h4 + .note, h3 + .note, .scale { break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 11px; }
  .blocks > div { break-inside: avoid; }
}
)";

}  // namespace flipside
