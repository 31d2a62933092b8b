package compat

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Metrics in the middle of an upgrade, read by Prometheus' own parser (compat/scrape), are those of the documentation.
func TestMetricsAreThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	url, docs := os.Getenv("METRICS_URL"), os.Getenv("METRICS_DOCS")
	if url == "" {
		t.Skip("this cluster's operator serves no metrics")
	}
	page, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, line := range strings.Split(string(page), "\n") {
		columns := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `tidegate_") || len(columns) < 4 {
			continue
		}
		for _, name := range strings.Split(columns[1], ",") {
			documented[strings.TrimSuffix(strings.Trim(name, " `"), "_total")] = strings.TrimSpace(columns[2])
		}
	}
	// Only a decision that panicked is counted there.
	delete(documented, "tidegate_sidecarset_panics")

	f := newFleet(t, created(t, "{"+oneContainer+"}"), 3, nil)
	f.update("agent:2", "{maxUnavailable: 1}")
	f.reaches("one in flight", "updated", 1)
	until(t, "all metrics are there", func() error {
		output, err := exec.Command(os.Getenv("SCRAPE"), url).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %s", err, output)
		}
		scraped := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(string(output)), "\n") {
			name, kind, _ := strings.Cut(line, " ")
			scraped[name] = kind
		}
		for name, kind := range documented {
			if scraped[name] != kind {
				return fmt.Errorf("%s: documented as %q, scraped as %q", name, kind, scraped[name])
			}
		}
		for name := range scraped {
			if documented[name] == "" && name != "tidegate_sidecarset_panics" {
				return fmt.Errorf("%s is not documented", name)
			}
		}
		return nil
	})
}
