// Command scrape reads a metrics endpoint as Prometheus does, with Prometheus' own parser, and prints each family's
// name and type. It fails where Prometheus would drop the scrape.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// What Prometheus 3 sends without native histograms.
const accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
	"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

func main() {
	families, err := scrape(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sort.Strings(families)
	for _, family := range families {
		fmt.Println(family)
	}
}

func scrape(url string) ([]string, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("User-Agent", "Prometheus/3.5.0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, body)
	}
	return parse(body, answer.Header.Get("Content-Type"))
}

func parse(body []byte, contentType string) ([]string, error) {
	parser, err := textparse.New(body, contentType, "", false, false, false, labels.NewSymbolTable())
	if err != nil {
		return nil, fmt.Errorf("content type %q: %w", contentType, err)
	}
	var families []string
	seen := map[uint64]bool{}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return families, nil
		}
		if err != nil {
			return nil, err
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			families = append(families, fmt.Sprintf("%s %s", name, kind))
		case textparse.EntrySeries:
			var series labels.Labels
			parser.Labels(&series)
			// Prometheus keeps one of them, and counts the other as a duplicate.
			if seen[series.Hash()] {
				return nil, fmt.Errorf("twice in one scrape: %s", series)
			}
			seen[series.Hash()] = true
		}
	}
}
