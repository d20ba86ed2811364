package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// tailIDs are the ids of the rows of an answer in JSON, NDJSON or CSV, in their order.
func tailIDs(kind string, body []byte) (ids []int64, err error) {
	type row struct {
		ID  int64           `json:"id"`
		End json.RawMessage `json:"$end"`
	}
	switch {
	case strings.HasPrefix(kind, "application/json"):
		var told struct {
			Rows []row `json:"rows"`
		}
		err = json.Unmarshal(body, &told)
		for _, r := range told.Rows {
			ids = append(ids, r.ID)
		}
	case strings.HasPrefix(kind, "application/x-ndjson"):
		ended := false
		for line := range strings.Lines(string(body)) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				return nil, err
			}
			if ended {
				return nil, errors.New("there is something after the end")
			}
			if ended = r.End != nil; !ended {
				ids = append(ids, r.ID)
			}
		}
		if !ended {
			return nil, errors.New("there is no end")
		}
	case strings.HasPrefix(kind, "text/csv"):
		lines, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
		if err != nil || len(lines) == 0 {
			return nil, fmt.Errorf("CSV of %d lines: %w", len(lines), err)
		}
		for _, line := range lines[1:] {
			id, err := strconv.ParseInt(line[0], 10, 64)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	default:
		err = fmt.Errorf("its type is %q", kind)
	}
	return ids, err
}
