package cache

// Usage is what one part of the cache holds.
type Usage struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Stat says what the cache holds. Bytes are those of the files' content.
type Stat struct {
	Dir         string `json:"dir"`
	Bytes       int64  `json:"bytes"` // in all
	Blobs       Usage  `json:"blobs"`
	Records     Usage  `json:"records"`
	Experiments Usage  `json:"experiments"`
	Runs        Usage  `json:"runs"`
	Scratch     Usage  `json:"scratch"` // checkpoints of stages that did not finish
	Temporary   Usage  `json:"temporary"`
	Quarantine  Usage  `json:"quarantine"`
	Index       Usage  `json:"index"`
	// IndexHere says that this process has the index; otherwise another one does, or it cannot be used here.
	IndexHere bool `json:"index_here"`
	// Running is the number of runs that are going on.
	Running int `json:"running"`
}

// Stat counts what the cache holds. It may run while others write.
func (c *Cache) Stat() (*Stat, error) {
	s := &Stat{Dir: c.dir, IndexHere: c.index.here()}
	for _, part := range []struct {
		dir string
		use *Usage
	}{
		{"blobs", &s.Blobs}, {"records", &s.Records}, {"experiments", &s.Experiments}, {"runs", &s.Runs},
		{"scratch", &s.Scratch}, {"tmp", &s.Temporary}, {"quarantine", &s.Quarantine}, {"index", &s.Index}, {"sources", &s.Index},
	} {
		files, err := c.files(part.dir)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			part.use.Files++
			part.use.Bytes += f.size
		}
		s.Bytes += part.use.Bytes
	}
	runs, _ := c.Runs() // VerifyAll names those that cannot be read
	for _, r := range runs {
		if r.State == "running" {
			s.Running++
		}
	}
	return s, nil
}
