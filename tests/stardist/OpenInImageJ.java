import ij.IJ;
import ij.ImageJ;
import ij.ImagePlus;
import ij.gui.Roi;
import ij.measure.ResultsTable;
import ij.plugin.frame.RoiManager;
import java.awt.Rectangle;

/**
 * What ImageJ itself makes of a RoiSet.zip and of a table; one line per ROI and per row.
 *
 * rois IMAGE ZIP: name, channel, slice, frame that the image shows when the ROI is selected,
 * bounds, pixels inside. table CSV: the headings, then the rows.
 */
public class OpenInImageJ {
    public static void main(String[] what) throws Exception {
        new ImageJ(ImageJ.NO_SHOW);
        if (what[0].equals("rois")) rois(what[1], what[2]);
        else table(what[1]);
        System.exit(0);
    }

    static void rois(String image, String zip) {
        ImagePlus imp = IJ.openImage(image);
        imp.show();
        RoiManager manager = new RoiManager();
        manager.runCommand("Open", zip);
        for (int i = 0; i < manager.getCount(); i++) {
            imp.setPosition(1, 1, 1);
            manager.select(imp, i);
            Roi roi = imp.getRoi();
            Rectangle r = roi.getBounds();
            System.out.println(String.join("\t", manager.getName(i), "" + imp.getC(),
                "" + imp.getZ(), "" + imp.getT(), "" + r.x, "" + r.y, "" + r.width, "" + r.height,
                "" + roi.getStatistics().pixelCount));
        }
    }

    static void table(String csv) throws Exception {
        ResultsTable table = ResultsTable.open(csv);
        String[] headings = table.getHeadings();
        System.out.println(String.join("\t", headings));
        for (int row = 0; row < table.size(); row++) {
            String[] cells = new String[headings.length];
            for (int c = 0; c < headings.length; c++)
                cells[c] = "" + table.getValue(headings[c], row);
            System.out.println(String.join("\t", cells));
        }
    }
}
