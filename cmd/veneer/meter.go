package main

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// meter is how far a step has come. Counting is safe from several goroutines and
// costs next to nothing. All else is for whoever shows the step.
type meter struct {
	files, bytes           atomic.Int64
	totalFiles, totalBytes atomic.Int64
	about                  atomic.Bool // the totals are a guess
	began                  time.Time
	speed, fileSpeed       speed
}

func (m *meter) count(files, bytes int64) {
	m.files.Add(files)
	m.bytes.Add(bytes)
}

func (m *meter) total(files, bytes int64, about bool) {
	m.totalFiles.Store(files)
	m.totalBytes.Store(bytes)
	m.about.Store(about)
}

// reading is what a meter shows at a time. What is not known is 0.
type reading struct {
	files, bytes           int64
	totalFiles, totalBytes int64
	about                  bool // the totals are a guess
	seconds                float64
	rate                   float64       // bytes per second
	left                   time.Duration // time to go
}

func (m *meter) read(now time.Time) reading {
	r := reading{
		files: m.files.Load(), bytes: m.bytes.Load(), totalFiles: m.totalFiles.Load(), totalBytes: m.totalBytes.Load(),
		about: m.about.Load(), seconds: now.Sub(m.began).Seconds(),
	}
	r.rate = m.speed.at(now, m.began, r.bytes)
	files := m.fileSpeed.at(now, m.began, r.files)
	if r.totalBytes > 0 {
		r.left = r.timeFor(r.totalBytes-r.bytes, r.rate)
	} else {
		r.left = r.timeFor(r.totalFiles-r.files, files)
	}
	return r
}

// timeFor is the time to go for what is left to do at a rate; 0: that is not known.
func (r reading) timeFor(left int64, rate float64) time.Duration {
	if left <= 0 || rate <= 0 || r.seconds < leftAfter.Seconds() || float64(left)/rate >= maxLeft.Seconds() {
		return 0
	}
	return time.Duration(float64(left) / rate * float64(time.Second))
}

const (
	// rateAfter and leftAfter are how long a step has to run before its rate, and the
	// time to go, mean something.
	rateAfter = time.Second
	leftAfter = 3 * time.Second
	// smoothing is the time over which the rate is smoothed.
	smoothing = 5 * time.Second
	// maxLeft: what takes longer has stalled rather than that anyone could say when it
	// ends.
	maxLeft = 24 * time.Hour
)

// speed is the rate of bytes or of files, smoothed.
type speed struct {
	last  time.Time
	bytes int64
	// rate is a moving average whose weights add up to weight.
	rate, weight float64
}

// at takes a sample and returns the rate; 0: it is not known yet.
func (s *speed) at(now, began time.Time, bytes int64) float64 {
	if s.last.IsZero() {
		s.last = began
	}
	if passed := now.Sub(s.last).Seconds(); passed > 0 {
		keep := math.Exp(-passed / smoothing.Seconds())
		s.rate = keep*s.rate + (1-keep)*float64(max(0, bytes-s.bytes))/passed
		s.weight = keep*s.weight + (1 - keep)
		s.last, s.bytes = now, bytes
	}
	if now.Sub(began) < rateAfter || s.weight == 0 || s.rate/s.weight < 1 {
		return 0
	}
	return s.rate / s.weight
}

// part is a piece of a step's line. Those with the highest rank are left out first
// where a line is too long, and those of rank 0 never.
type part struct {
	text string
	rank int
}

// aboutText stands before a total that is not known for certain.
func (r reading) aboutText() string {
	if r.about {
		return "about "
	}
	return ""
}

// parts tell people how far a step is. ended: it is over, so that all that counts is
// how much it was.
func (r reading) parts(ended bool) []part {
	var list []part
	add := func(rank int, format string, args ...any) {
		list = append(list, part{fmt.Sprintf(format, args...), rank})
	}
	about := r.aboutText()
	switch {
	case !ended && r.totalFiles > 1 && r.files <= r.totalFiles:
		add(5, "%d of %s%s", r.files, about, countText(r.totalFiles, "file", "files"))
	case r.files > 0:
		add(5, "%s", countText(r.files, "file", "files"))
	}
	switch {
	case !ended && r.totalBytes > 0 && r.bytes <= r.totalBytes:
		add(1, "%s%d%%", about, 100*r.bytes/r.totalBytes)
		add(3, "%s of %s%s", bytesText(r.bytes), about, bytesText(r.totalBytes))
	case r.bytes > 0:
		add(3, "%s", bytesText(r.bytes))
	}
	if !ended && r.rate > 0 {
		add(4, "%s/s", bytesText(int64(r.rate)))
	}
	if !ended && r.left > 0 {
		add(2, "%s%s left", about, durationText(r.left))
	}
	if ended || r.left == 0 {
		add(2, "%.1f s", r.seconds)
	}
	return list
}

// durationText is a time to go. Its steps are coarse, so that it does not flicker.
func durationText(d time.Duration) string {
	switch s := int(math.Ceil(d.Seconds())); {
	case s <= 60:
		return fmt.Sprintf("%d s", s)
	case s <= 10*60:
		s = (s + 4) / 5 * 5
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s <= 60*60:
		return fmt.Sprintf("%d min", (s+59)/60)
	default:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
}
