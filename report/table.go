package report

import "fmt"

// Table is rows of text below named columns.
type Table struct {
	Title   string
	Columns []Column
	Rows    [][]string // each as long as Columns
	// Folded hides the rows behind the title until the reader opens it.
	Folded bool
	// Marks are rows by index to be set off, such as the best epoch.
	Marks map[int]Tone
}

// Column is the head of one column.
type Column struct {
	Name string
	Unit string // shown behind the name: ms, %, px
	// Number aligns the cells to the right, in digits of equal width.
	Number bool
}

type tableCell struct {
	Text   string
	Number bool
}

type tableRow struct {
	Tone  Tone
	Cells []tableCell
}

// Table adds a table.
func (p *Page) Table(t Table) {
	rows := make([]tableRow, len(t.Rows))
	for i, r := range t.Rows {
		if len(r) != len(t.Columns) {
			p.fail(fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Title, i, len(r), len(t.Columns)))
			return
		}
		rows[i].Tone = t.Marks[i]
		for j, text := range r {
			rows[i].Cells = append(rows[i].Cells, tableCell{text, t.Columns[j].Number})
		}
	}
	p.add("table", map[string]any{"Title": t.Title, "Columns": t.Columns, "Rows": rows, "Folded": t.Folded})
}
