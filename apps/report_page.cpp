// SPDX-License-Identifier: BSD-3-Clause
#include "apps/report_page.hpp"

#include "apps/svg.hpp"

#include <fmt/format.h>

namespace conclave::apps {
namespace {

// Nothing may be loaded, whatever a text might smuggle in. Pictures stand two beside each other where there is room.
constexpr std::string_view head =
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<style>\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1200px; margin: 0 auto;"
    " padding: 0 16px 32px; }\n"
    "h1 { font-size: 1.6rem; margin: 1.2rem 0 .4rem; }\n"
    "h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; border-bottom: 1px solid #ddd; }\n"
    "p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }\n"
    ".table { overflow-x: auto; }\n"
    "table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }\n"
    "th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #eee;"
    " overflow-wrap: anywhere; }\n"
    "tbody th { font-weight: 400; color: #666; min-width: 6.5rem; }\n"
    "td { min-width: 6rem; }\n"
    ".pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 20px; }\n"
    "figure { margin: 0; }\n"
    "svg { display: block; width: 100%; height: auto; max-width: 640px; }\n"
    "figcaption { font-size: .85rem; color: #666; padding: 0 12px; max-width: 600px; overflow-wrap: anywhere; }\n"
    "h3 { font-size: 1rem; margin: 1rem 0 .3rem; }\n"
    ".path span { display: inline-block; min-width: 1.1em; margin: 0 1px 4px; text-align: center; line-height: 1.2;"
    " border-bottom: 4px solid; }\n"
    ".path small { display: block; font-size: .7rem; color: #666; }\n"
    "</style>\n";

std::string table_text(const PageTable& table) {
  std::string out = "<div class=\"table\"><table>\n";
  if (!table.heads.empty()) {
    out += "<thead><tr>";
    for (const std::string& name : table.heads) out += fmt::format("<th>{}</th>", markup_text(name));
    out += "</tr></thead>\n";
  }
  out += "<tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    out += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) {
      out += fmt::format("<{0}>{1}</{0}>", c == 0 ? "th" : "td", markup_text(row[c]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string picture_text(const Picture& picture) {
  const std::string caption =
      picture.caption.empty() ? "" : fmt::format("<figcaption>{}</figcaption>\n", markup_text(picture.caption));
  return fmt::format("<figure>\n{}{}</figure>\n", picture.svg, caption);
}

}  // namespace

std::string page_text(const std::string& title, const std::vector<PageSection>& sections) {
  std::string out =
      fmt::format("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{0}<title>{1}</title>\n</head>\n<body>\n<h1>{1}</h1>\n",
                  head, markup_text(title));
  for (const PageSection& section : sections) {
    out += fmt::format("<h2>{}</h2>\n", markup_text(section.heading));
    for (const std::string& paragraph : section.paragraphs) out += fmt::format("<p>{}</p>\n", markup_text(paragraph));
    out += section.markup;
    for (const PageTable& table : section.tables) out += table_text(table);
    if (section.pictures.empty()) continue;
    out += "<div class=\"pictures\">\n";
    for (const Picture& picture : section.pictures) out += picture_text(picture);
    out += "</div>\n";
  }
  return out + "</body>\n</html>\n";
}

}  // namespace conclave::apps
