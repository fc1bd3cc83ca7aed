// What `bench` found: as a table, as JSON, and as one HTML page that needs nothing else.
#include "bench.h"

#include <jansson.h>

static double gflops(const sxt_bench_result *r) {
    return r->median_us > 0 ? r->flops / r->median_us * 1e-3 : 0;
}

static double gbs(const sxt_bench_result *r) {
    return r->median_us > 0 ? r->bytes / r->median_us * 1e-3 : 0;
}

static double copy_percent(const sxt_bench_report *report, const sxt_bench_result *r) {
    return report->copy_gbs > 0 ? 100 * gbs(r) / report->copy_gbs : 0;
}

static double fma_percent(const sxt_bench_report *report, const sxt_bench_result *r) {
    return report->fma_gflops > 0 ? 100 * gflops(r) / report->fma_gflops : 0;
}

// Of the fastest shape; 0: none was measured.
static double matrix_gflops(const sxt_bench_report *report) {
    double most = 0;
    for (uint32_t i = 0; i < report->device->caps.matrix_shape_count; i++)
        if (report->matrix_gflops[i] > most) most = report->matrix_gflops[i];
    return most;
}

static const char *clock_name(const sxt_bench_report *report) {
    return report->device_clock ? "device timestamps" : "wall clock: this device has no timestamps";
}

// ── Table ──

void sxt_bench_print_head(const sxt_bench_report *report) {
    printf("device  %s (%s)\nclock   %s\n", report->device->name, report->device->driver, clock_name(report));
    if (report->copy_gbs > 0) printf("copy    %.2f GB/s read and written, by %s\n", report->copy_gbs, report->copy_way);
    if (report->fma_gflops > 0)
        printf("fma     %.1f GFLOP/s of f32 multiply-adds, by a kernel of nothing else\n", report->fma_gflops);
    for (uint32_t i = 0; i < report->device->caps.matrix_shape_count; i++) {
        char text[SXT_SHAPE_SIZE];
        if (report->matrix_gflops[i] > 0)
            printf("matrix  %.1f GFLOP/s of products %s, by a kernel of nothing else\n", report->matrix_gflops[i],
                   sxt_shape_name(&report->device->caps.matrix_shapes[i], text));
    }
    printf("\n%-37s %12s %12s %6s %10s %9s %7s %7s", "case", "median us", "min us", "runs", "GFLOP/s", "GB/s", "% copy",
           "% fma");
    if (matrix_gflops(report) > 0) printf(" %8s", "% matrix");
    putchar('\n');
    fflush(stdout);
}

void sxt_bench_print_row(const sxt_bench_report *report, const sxt_bench_result *r) {
    if (!r->timed) {
        printf("%-37s not run: %s\n", r->name, r->why_not);
    } else {
        printf("%-37s %12.1f %12.1f %6u %10.2f %9.2f", r->name, r->median_us, r->min_us, r->runs, gflops(r), gbs(r));
        if (report->copy_gbs > 0) printf(" %6.1f%%", copy_percent(report, r));
        if (report->fma_gflops > 0)
            printf("%s %6.1f%%", report->copy_gbs > 0 ? "" : "        ", fma_percent(report, r));
        if (matrix_gflops(report) > 0 && r->products) printf(" %7.1f%%", 100 * gflops(r) / matrix_gflops(report));
        if (r->bound_gain > 0) printf("  %.2f times as fast by its bound", r->bound_gain);
        putchar('\n');
    }
    fflush(stdout);
}

// ── JSON ──

void sxt_bench_write_json(FILE *file, const sxt_bench_report *report) {
    json_t *results = json_array();
    for (int i = 0; i < report->result_count; i++) {
        const sxt_bench_result *r = &report->results[i];
        json_t *row =
            json_pack("{s:s, s:f, s:f, s:i, s:f, s:f, s:s}", "name", r->name, "median_us", r->median_us, "min_us",
                      r->min_us, "runs", (int)r->runs, "flops", r->flops, "bytes", r->bytes, "variant", r->variant);
        if (!r->timed) {
            json_object_set_new(row, "median_us", json_null());
            json_object_set_new(row, "min_us", json_null());
            json_object_set_new(row, "not_run", json_string(r->why_not));
        }
        if (r->bound_gain > 0) json_object_set_new(row, "bound_gain", json_real(r->bound_gain));
        json_array_append_new(results, row);
    }
    json_t *matrix = json_array();
    for (uint32_t i = 0; i < report->device->caps.matrix_shape_count; i++) {
        char text[SXT_SHAPE_SIZE];
        if (report->matrix_gflops[i] > 0)
            json_array_append_new(matrix, json_pack("{s:s, s:f}", "shape",
                                                    sxt_shape_name(&report->device->caps.matrix_shapes[i], text),
                                                    "gflop_per_s", report->matrix_gflops[i]));
    }
    json_t *root =
        json_pack("{s:{s:s, s:s, s:s, s:s, s:f, s:f, s:o}, s:o}", "device", "name", report->device->name, "driver",
                  report->device->driver, "type", report->device->type ? report->device->type : "reference", "clock",
                  clock_name(report), "copy_gb_per_s", report->copy_gbs, "fma_gflop_per_s", report->fma_gflops,
                  "matrix", matrix, "results", results);
    json_dumpf(root, file, JSON_INDENT(2));
    fputc('\n', file);
    json_decref(root);
}

// ── HTML ──

static void put_text(FILE *file, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        default:
            fputc(*text, file);
        }
    }
}

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%}th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid "
    "#ddd;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}td.v{font-size:.8em;color:#777;text-align:left;white-space:normal}"
    ".bar{background:#e8ecf2;width:9em;height:.8em;display:inline-block}.bar "
    "i{display:block;height:100%;background:#2f6fb2}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}th,td{border-color:#333}.bar{background:#"
    "2a2e36}}";

static void put_bar(FILE *file, double part) {
    double percent = part < 0 ? 0 : part > 1 ? 100 : 100 * part;
    fprintf(file, "<td><span class=bar><i style=\"width:%.1f%%\"></i></span></td>", percent);
}

void sxt_bench_write_html(FILE *file, const sxt_bench_report *report) {
    double most_gflops = 0, most_gbs = 0;
    for (int i = 0; i < report->result_count; i++) {
        if (gflops(&report->results[i]) > most_gflops) most_gflops = gflops(&report->results[i]);
        if (gbs(&report->results[i]) > most_gbs) most_gbs = gbs(&report->results[i]);
    }
    if (report->copy_gbs > most_gbs) most_gbs = report->copy_gbs;
    fprintf(file,
            "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n"
            "<title>Sextant bench</title><style>%s</style>\n<h1>Sextant bench</h1>\n<p>",
            style);
    put_text(file, report->device->name);
    fputs("<br>", file);
    put_text(file, report->device->driver);
    fprintf(file, "<br>Timed by %s", clock_name(report));
    if (report->copy_gbs > 0)
        fprintf(file, "; copy bandwidth measured in the same run: %.2f GB/s, read and written, by %s", report->copy_gbs,
                report->copy_way);
    if (report->fma_gflops > 0)
        fprintf(file, "; f32 multiply-adds, by a kernel of nothing else: %.1f GFLOP/s", report->fma_gflops);
    for (uint32_t i = 0; i < report->device->caps.matrix_shape_count; i++) {
        char text[SXT_SHAPE_SIZE];
        if (report->matrix_gflops[i] > 0) {
            fputs("; matrix products ", file);
            put_text(file, sxt_shape_name(&report->device->caps.matrix_shapes[i], text));
            fprintf(file, ", the same: %.1f GFLOP/s", report->matrix_gflops[i]);
        }
    }
    const bool matrix = matrix_gflops(report) > 0;
    fprintf(file,
            ".</p>\n<table><tr><th>case<th>median, µs<th>min, µs<th>runs<th>GFLOP/s<th><th>GB/s<th><th>%% of "
            "copy<th>%% of FMA%s<th>kernel</tr>\n",
            matrix ? "<th>% of matrix" : "");
    for (int i = 0; i < report->result_count; i++) {
        const sxt_bench_result *r = &report->results[i];
        fputs("<tr><td>", file);
        put_text(file, r->name);
        if (!r->timed) {
            fprintf(file, "<td colspan=%d>not run: ", matrix ? 10 : 9);
            put_text(file, r->why_not);
        } else {
            fprintf(file, "<td>%.1f<td>%.1f<td>%u<td>%.2f", r->median_us, r->min_us, r->runs, gflops(r));
            put_bar(file, most_gflops > 0 ? gflops(r) / most_gflops : 0);
            fprintf(file, "<td>%.2f", gbs(r));
            put_bar(file, most_gbs > 0 ? gbs(r) / most_gbs : 0);
            if (report->copy_gbs > 0)
                fprintf(file, "<td>%.1f", copy_percent(report, r));
            else
                fputs("<td>", file);
            if (report->fma_gflops > 0)
                fprintf(file, "<td>%.1f", fma_percent(report, r));
            else
                fputs("<td>", file);
            if (matrix) fputs("<td>", file);
            if (matrix && r->products) fprintf(file, "%.1f", 100 * gflops(r) / matrix_gflops(report));
        }
        fputs("<td class=v>", file);
        put_text(file, r->variant);
        if (r->bound_gain > 0) fprintf(file, " (%.2f times as fast by its bound)", r->bound_gain);
        fputs("</tr>\n", file);
    }
    fputs("</table>\n<p>Bars: each case against the largest of its column (GB/s: or against the copy). Bytes count "
          "every tensor once; "
          "FLOPs of attention are 4·(visible pairs)·heads·channels.</p>\n</html>\n",
          file);
}
