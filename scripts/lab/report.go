package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dataFile holds the outcomes beside the plots.
const dataFile = "data.json"

// A report is the page with what belongs to it.
type report struct {
	page   string // path
	folder string // of plots and data: the page's path without .md
	// Outcomes of this run, and of earlier ones for experiments that were left out.
	outcomes []Outcome
}

// openReport reads the outcomes of the last run, if there are any.
func openReport(page string) (*report, error) {
	r := &report{page: page, folder: strings.TrimSuffix(page, filepath.Ext(page))}
	if _, err := os.Stat(page); err != nil {
		return nil, fmt.Errorf("the page: %w", err) // now, and not after minutes of measuring
	}
	text, err := os.ReadFile(filepath.Join(r.folder, dataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.outcomes); err != nil {
		return nil, fmt.Errorf("%s: %w", dataFile, err)
	}
	return r, nil
}

// put replaces the outcome of that name, or adds it.
func (r *report) put(o Outcome) {
	if at := slices.IndexFunc(r.outcomes, func(old Outcome) bool { return old.Name == o.Name }); at >= 0 {
		r.outcomes[at] = o
		return
	}
	r.outcomes = append(r.outcomes, o)
}

// write fills the page and writes plots and data. Nothing is written before all of it is made.
func (r *report) write() error {
	text, err := os.ReadFile(r.page)
	if err != nil {
		return err
	}
	page := string(text)
	files := map[string][]byte{}
	for _, o := range r.outcomes {
		if page, err = fill(page, o.Name, o.markdown(filepath.Base(r.folder))); err != nil {
			return err
		}
		for _, p := range o.Plots {
			if files[p.File+".svg"], err = p.draw(); err != nil {
				return err
			}
		}
	}
	if files[dataFile], err = json.MarshalIndent(r.outcomes, "", " "); err != nil {
		return fmt.Errorf("%s: %w", dataFile, err)
	}
	files[dataFile] = append(files[dataFile], '\n')
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(r.page, []byte(page), 0o644)
}
