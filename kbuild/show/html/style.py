"""The page's style and its few lines of script. Colours are told apart by their letters too."""

from __future__ import annotations

from kbuild.show.html.svg import BOX, MARGIN, TRUNK

#: Letter → (fill, line) on a light ground, (fill, line) on a dark one.
_LETTERS = {
    "W": ("#dbe9f6", "#2b5c8a", "#1d3a56", "#8fc1ee"),
    "N": ("#d5f0ea", "#1c7a63", "#12443a", "#6fd6bd"),
    "A": ("#f6dbee", "#8a2b6e", "#4a1d3d", "#ec9fd4"),
    "D": ("#fbf0cd", "#7d6114", "#463a12", "#ecd27a"),
    "P": ("#e3f0d5", "#456f19", "#2c431a", "#a9d67c"),
    "plain": ("#f3f4f6", "#5b6472", "#262b33", "#a3adba"),
}


def _variables(at: int) -> str:
    return "".join(f"--{name}: {row[at]}; --{name}-line: {row[at + 1]}; " for name, row in _LETTERS.items())


_RULES = "".join(
    f".kbuild .{name} rect {{ fill: var(--{name}); stroke: var(--{name}-line) }} "
    f".kbuild .{name} .side {{ fill: var(--{name}-line) }} .kbuild b.{name} {{ color: var(--{name}-line) }}\n"
    for name in _LETTERS
)

#: Colours, and what a drawing alone needs.
DRAWING = f"""
.kbuild {{ {_variables(0)}
  --ground: #ffffff; --text: #1b2028; --muted: #5b6472; --edge: #7a8494; --frame: #c3cad4; --fold: #f7f8fa; }}
@media (prefers-color-scheme: dark) {{
  .kbuild {{ {_variables(2)}
    --ground: #14171c; --text: #e7eaef; --muted: #a3adba; --edge: #7f8998; --frame: #4a5361; --fold: #1b1f26; }}
}}
.kbuild svg rect {{ stroke-width: 1.2 }}
.kbuild svg .unit {{ fill: none; stroke: var(--frame); pointer-events: stroke; stroke-width: 1.5 }}
.kbuild .moved > rect {{ stroke-dasharray: 4 3 }}
.kbuild .edge {{ fill: none; stroke: var(--edge); stroke-width: 1.6 }}
.kbuild .arc {{ stroke-width: 2 }}
.kbuild svg text {{ fill: var(--text); font: 600 12.5px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif }}
.kbuild svg .what, .kbuild svg .shape {{ font-weight: 400; font-size: 11px; fill: var(--muted) }}
.kbuild svg .shape {{ text-anchor: end }}
.kbuild svg .letter {{ text-anchor: middle; font-size: 15px; font-weight: 800; fill: var(--ground) }}
{_RULES}"""

CSS = f"""{DRAWING}
.kbuild {{ color-scheme: light dark; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; padding: 1px 20px 24px;
}}
.kbuild * {{ box-sizing: border-box }}
.kbuild h1 {{ font-size: 26px; margin: 22px 0 2px; overflow-wrap: anywhere }}
.kbuild h2 {{ font-size: 18px; margin: 32px 0 8px }}
.kbuild p {{ margin: 4px 0; color: var(--muted); overflow-wrap: anywhere }}
.kbuild .order {{ font: 600 17px ui-monospace, Consolas, monospace; color: var(--text) }}
.kbuild b {{ font-weight: 700 }}
.kbuild .legend {{ display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 }}
.kbuild .legend b {{ display: inline-block; min-width: 20px; text-align: center; margin-right: 5px;
  border: 1px solid currentColor; border-radius: 4px }}
.kbuild button {{ font: inherit; color: inherit; background: var(--fold); border: 1px solid var(--frame);
  border-radius: 6px; padding: 2px 12px; margin: 6px 8px 8px 0; cursor: pointer }}
.kbuild .drawing {{ overflow-x: auto; padding: 2px 0 }}
.kbuild svg.run {{ display: block; overflow: visible }}
.kbuild svg a:hover rect, .kbuild svg g:hover > rect, .kbuild svg a:focus rect, .kbuild svg a:target rect {{
  stroke-width: 2.6 }}
.kbuild svg a {{ outline: none }}
.kbuild details {{ width: max-content; min-width: {MARGIN + BOX + MARGIN}px; border-radius: 10px;
  box-shadow: inset 0 0 0 1px var(--frame) }}
.kbuild details[open] {{ background: var(--fold) }}
.kbuild summary {{ list-style: none; cursor: pointer; padding: 8px {MARGIN}px 8px {MARGIN}px;
  background: linear-gradient(var(--edge), var(--edge)) {TRUNK - 1}px 0 / 1.6px 100% no-repeat }}
.kbuild summary::-webkit-details-marker {{ display: none }}
.kbuild summary > span {{ display: block; width: {BOX}px; background: var(--ground); border: 1px solid var(--frame);
  border-radius: 6px; padding: 4px 9px; font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere }}
.kbuild details:not([open]) > summary > span {{ box-shadow: 3px 3px 0 var(--fold), 4px 4px 0 var(--frame) }}
.kbuild summary > span::before {{ content: "▸ "; color: var(--muted) }}
.kbuild details[open] > summary > span::before {{ content: "▾ " }}
.kbuild summary small {{ color: var(--muted); font-size: 11px; display: block }}
.kbuild summary em {{ font-style: normal; color: var(--muted); font-size: 11px }}
.kbuild summary .letters {{ display: block; font: 700 11px ui-monospace, Consolas, monospace; letter-spacing: 2px }}
.kbuild summary .letters i {{ font-style: normal; color: var(--muted) }}
.kbuild details[open] > summary .letters {{ display: none }}
.kbuild .after {{ height: 12px;
  background: linear-gradient(var(--edge), var(--edge)) {TRUNK - 1}px 0 / 1.6px 100% no-repeat }}
.kbuild table {{ border-collapse: collapse; width: 100%; font-size: 13.5px }}
.kbuild th {{ text-align: left; color: var(--muted); font-weight: 600 }}
.kbuild th, .kbuild td {{ padding: 5px 14px 5px 0; vertical-align: top; border-bottom: 1px solid var(--frame) }}
.kbuild td {{ overflow-wrap: break-word }}
.kbuild td.number {{ text-align: right; white-space: nowrap }}
.kbuild td.code, .kbuild td.shape {{ white-space: nowrap; font-variant-numeric: tabular-nums }}
.kbuild tr:target td {{ background: var(--fold); box-shadow: inset 0 -2px var(--edge) }}
.kbuild table a {{ color: inherit }}
@media (max-width: 760px) {{
  .kbuild {{ padding: 1px 10px 20px }}
  .kbuild thead {{ display: none }}
  .kbuild tr {{ display: block; border-bottom: 1px solid var(--frame); padding: 7px 0 }}
  .kbuild td, .kbuild td[class] {{ display: inline; border: 0; padding: 0 8px 0 0; white-space: normal }}
  .kbuild td:first-child {{ font-weight: 600 }}
  .kbuild td.shape:not(:empty)::before {{ content: "(" }}
  .kbuild td.shape:not(:empty)::after {{ content: ")" }}
  .kbuild td.number::after {{ content: " params" }}
  .kbuild td.why[class] {{ display: block; color: var(--muted); padding: 0 }}
}}
@media print {{ .kbuild button {{ display: none }} }}
"""

#: Folds all at once, and unfolds what a link leads to. The drawing needs none of it.
SCRIPT = """
for (const button of document.querySelectorAll("button[data-open]")) {
  button.hidden = !document.querySelector(".kbuild details");
  button.addEventListener("click", () => {
    for (const fold of document.querySelectorAll(".kbuild details")) fold.open = button.dataset.open === "yes";
  });
}
function reveal() {
  let at = location.hash && document.getElementById(location.hash.slice(1));
  for (let fold = at; fold; fold = fold.parentElement) if (fold.tagName === "DETAILS") fold.open = true;
  if (at) at.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", reveal);
reveal();
"""
