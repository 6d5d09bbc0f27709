#include "observe/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace steelyard {
namespace {

constexpr int kNumColors = 10;
constexpr double kWidth = 860.0;
constexpr double kHeight = 340.0;
constexpr double kLeft = 66.0;
constexpr double kRight = 172.0;  // the legend
constexpr double kTop = 34.0;
constexpr double kBottom = 48.0;
constexpr size_t kMostMarked = 80;  // points of a line that get a dot each

constexpr std::string_view kStyle = R"(
:root{--ink:#1c2430;--soft:#5b6675;--rule:#dfe4ea;--page:#ffffff;--panel:#f6f8fa;
--c0:#1463d8;--c1:#d1343b;--c2:#d97a06;--c3:#16825d;--c4:#7d4cc2;
--c5:#8a929d;--c6:#b08d57;--c7:#14171c;--c8:#0c8599;--c9:#c2418c}
@media (prefers-color-scheme:dark){
:root{--ink:#e6eaf0;--soft:#9aa5b4;--rule:#333c48;--page:#14181e;--panel:#1b2129;
--c0:#6ea8ff;--c1:#ff7b80;--c2:#f5ab4b;--c3:#55cf9f;--c4:#b795f5;
--c5:#8d97a5;--c6:#cbb083;--c7:#f2f4f7;--c8:#5ccfe0;--c9:#f08bc3}}
svg.plot{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg.plot text{fill:var(--soft)}
svg.plot .title{fill:var(--ink);font-size:14px;font-weight:600}
svg.plot .name{fill:var(--ink)}svg.plot .point{font-size:11px}
svg.plot .grid{stroke:var(--rule);stroke-width:1}
svg.plot .axis{stroke:var(--soft);stroke-width:1}
svg.plot .line{fill:none;stroke-width:1.6;stroke-linejoin:round}
svg.plot .strong{stroke-width:3}
svg.plot .dashed{stroke-dasharray:6 4}
)";

double Scaled(AxisScale scale, double value) {
  return scale == AxisScale::kLinear ? value : std::log10(1.0 + std::max(value, 0.0));
}

bool Shown(const PlotPoint& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

// Where values of one axis fall on the picture.
class Axis {
 public:
  Axis(const Plot& plot, const PlotAxis& spec, double PlotPoint::*value) : spec_(spec) {
    for (const PlotSeries& series : plot.series) {
      for (const PlotPoint& point : series.points) {
        if (!Shown(point)) continue;
        low_ = std::min(low_, point.*value);
        high_ = std::max(high_, point.*value);
      }
    }
    if (low_ > high_) low_ = high_ = 0.0;
    if (spec.from_zero) low_ = std::min(low_, 0.0);
    if (high_ - low_ < 1e-9) high_ = low_ + std::max(1e-3, std::abs(low_) * 0.1);
    if (spec.scale == AxisScale::kLinear && !spec.whole) {
      const double margin = (high_ - low_) * 0.04;
      high_ += margin;
      if (!spec.from_zero) low_ -= margin;
    }
  }

  double Place(double value, double from, double to) const {
    const double low = Scaled(spec_.scale, low_);
    const double high = Scaled(spec_.scale, high_);
    return from + (Scaled(spec_.scale, value) - low) / (high - low) * (to - from);
  }

  std::vector<double> Ticks(int most) const {
    if (spec_.scale == AxisScale::kLinear) return NiceTicks(low_, high_, most, spec_.whole);
    std::vector<double> ticks = {0.0};
    for (double tick = 1.0; tick <= high_; tick *= 10.0) ticks.push_back(tick);
    return ticks;
  }

 private:
  const PlotAxis& spec_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
};

struct Canvas {
  const Axis& x_axis;
  const Axis& y_axis;

  double X(double value) const { return x_axis.Place(value, kLeft, kWidth - kRight); }
  double Y(double value) const { return y_axis.Place(value, kHeight - kBottom, kTop); }
};

std::string Text(double x, double y, std::string_view attributes, std::string_view text) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}"{}>{}</text>)", x, y, attributes,
                     EscapeMarkup(text));
}

std::string TickText(double value) { return fmt::format("{:.6g}", value); }

std::string Frame(const Plot& plot, const Canvas& canvas) {
  std::string out = Text(kLeft, 18, R"( class="title")", plot.title);
  constexpr double kAxisY = kHeight - kBottom;
  for (const double tick : canvas.y_axis.Ticks(7)) {
    out += fmt::format(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft,
                       kWidth - kRight, canvas.Y(tick), canvas.Y(tick));
    out += Text(kLeft - 7, canvas.Y(tick) + 4, R"( text-anchor="end")", TickText(tick));
  }
  for (const double tick : canvas.x_axis.Ticks(10)) {
    out += fmt::format(R"(<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>)",
                       canvas.X(tick), canvas.X(tick), kAxisY, kAxisY + 4);
    out += Text(canvas.X(tick), kAxisY + 18, R"( text-anchor="middle")", TickText(tick));
  }
  out += fmt::format(R"(<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>)", kLeft,
                     kWidth - kRight, kAxisY, kAxisY);
  constexpr double kMiddle = (kTop + kHeight - kBottom) / 2;
  out +=
      Text((kLeft + kWidth - kRight) / 2, kHeight - 10, R"( text-anchor="middle")", plot.x.label);
  out += Text(16, kMiddle,
              fmt::format(R"x( text-anchor="middle" transform="rotate(-90 16 {:.1f})")x", kMiddle),
              plot.y.label);
  return out;
}

std::string Line(const PlotSeries& series, const Canvas& canvas) {
  const int color = series.color % kNumColors;
  std::string path;
  std::string marks;
  size_t num_shown = 0;
  for (const PlotPoint& point : series.points) num_shown += Shown(point) ? 1 : 0;
  for (const PlotPoint& point : series.points) {
    if (!Shown(point)) continue;
    const double x = canvas.X(point.x);
    const double y = canvas.Y(point.y);
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x, y);
    if (num_shown <= kMostMarked) {
      marks += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}"/>)", x, y,
                           num_shown == 1  ? 5.0
                           : series.strong ? 3.0
                                           : 2.0);
    }
    if (!point.label.empty()) marks += Text(x + 7, y - 6, R"( class="point")", point.label);
  }
  std::string out =
      fmt::format(R"x(<g fill="var(--c{})"><title>{}</title>)x", color, EscapeMarkup(series.name));
  if (num_shown > 1) {
    out += fmt::format(R"x(<path class="line{}{}" stroke="var(--c{})" d="{}"/>)x",
                       series.strong ? " strong" : "", series.dashed ? " dashed" : "", color, path);
  }
  return out + marks + "</g>";
}

std::string Legend(const Plot& plot) {
  std::string out;
  double y = kTop + 8;
  for (const PlotSeries& series : plot.series) {
    out += fmt::format(R"x(<path class="line{}{}" stroke="var(--c{})" d="M{} {:.1f}h22"/>)x",
                       series.strong ? " strong" : "", series.dashed ? " dashed" : "",
                       series.color % kNumColors, kWidth - kRight + 14, y);
    out += Text(kWidth - kRight + 42, y + 4, R"( class="name")", series.name);
    y += 20;
  }
  return out;
}

}  // namespace

std::vector<double> NiceTicks(double low, double high, int most, bool whole) {
  double step = std::pow(10.0, std::floor(std::log10(std::max(high - low, 1e-12) / most)));
  const auto count = [&](double by) {
    return std::floor(high / by + 1e-9) - std::ceil(low / by - 1e-9) + 1;
  };
  for (int i = 0; count(step) > most; ++i) step *= i % 3 == 1 ? 2.5 : 2.0;  // 1, 2, 5, 10, ..
  if (whole) step = std::max(1.0, step);
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + step * 1e-9; ++k) {
    ticks.push_back(k == 0.0 ? 0.0 : k * step);
  }
  if (ticks.empty()) ticks.push_back(low);
  return ticks;
}

std::string SvgPlot(const Plot& plot) {
  const Axis x_axis(plot, plot.x, &PlotPoint::x);
  const Axis y_axis(plot, plot.y, &PlotPoint::y);
  const Canvas canvas{x_axis, y_axis};
  std::string lines;
  bool any = false;
  for (const PlotSeries& series : plot.series) {
    lines += Line(series, canvas);
    any = any || std::any_of(series.points.begin(), series.points.end(), Shown);
  }
  std::string out =
      fmt::format(R"(<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth,
                  kHeight, EscapeMarkup(plot.title));
  out += Frame(plot, canvas) + lines + Legend(plot);
  if (!any) out += Text(kWidth / 2, kHeight / 2, R"( text-anchor="middle")", "nothing to show");
  return out + "</svg>\n";
}

std::string_view PlotStyle() { return kStyle; }

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace steelyard
